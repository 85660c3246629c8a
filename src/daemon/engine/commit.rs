//! Marks on their way to stable storage, and the orders that wait for them (`proto/README.md`, section 6, steps 11 and 12).
//!
//! An order can be had only from a commit that [`write`] has made durable (invariant 3).

use std::time::Duration;

use crate::adapters::store::{ReplayStore, StoreError};
use crate::core::order::Order;
use crate::model::mark::StoredMarks;

/// The mark of an admitted knock, and those of knocks refused before it.
#[derive(Debug, PartialEq, Eq)]
pub struct Commit {
    pub ticket: u64,
    /// The clock times must be durable with the marks.
    pub change: StoredMarks,
    order: Option<Order>,
    is_durable: bool,
}

impl Commit {
    /// Without an order, if all its marks are of refused knocks.
    pub(super) fn new(ticket: u64, change: StoredMarks, order: Option<Order>) -> Self {
        Self {
            ticket,
            change,
            order,
            is_durable: false,
        }
    }

    /// Tells the monitor what will be ordered. It opens nothing before the order itself comes.
    pub(super) fn announcement(&self) -> Option<Order> {
        match self.order.as_ref()? {
            Order::Open { ticket, request } => Some(Order::Announced {
                ticket: *ticket,
                request: request.clone(),
            }),
            _ => None,
        }
    }

    /// Whether [`write`] made it durable.
    pub fn is_durable(&self) -> bool {
        self.is_durable
    }

    /// The order, once, and not before the mark is durable.
    pub fn take_order(&mut self) -> Option<Order> {
        self.order.take_if(|_| self.is_durable)
    }
}

/// The store, with commits that are to be made durable or were.
pub(super) struct Work {
    pub(super) store: Box<dyn ReplayStore>,
    pub(super) commits: Vec<Commit>,
}

/// What became of the work.
pub(super) struct Done {
    pub(super) work: Work,
    /// Why the marks are not durable, or the store cannot be used again.
    pub(super) failure: Option<String>,
    /// The orders that could not be sent, and why.
    pub(super) unsent: Vec<(Order, &'static str)>,
    pub(super) took: Duration,
}

/// Makes commits durable together, all or none.
pub fn write(
    commits: &mut [Commit],
    store: &mut (impl ReplayStore + ?Sized),
) -> Result<(), StoreError> {
    match &*commits {
        [commit] => store.write(&commit.change)?,
        several => store.write(&joined(several))?,
    }
    for commit in commits {
        commit.is_durable = true;
    }
    Ok(())
}

fn joined(commits: &[Commit]) -> StoredMarks {
    let mut all = StoredMarks::default();
    for Commit { change, .. } in commits {
        all.times = change.times;
        all.marks.extend_from_slice(&change.marks);
        all.refused.extend_from_slice(&change.refused);
        // The latest counts.
        all.users.extend_from_slice(&change.users);
        all.runs.extend_from_slice(&change.runs);
        all.closed.extend_from_slice(&change.closed);
        all.closed_floor = all.closed_floor.max(change.closed_floor);
    }
    all
}
