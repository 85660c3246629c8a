//! What becomes of an order, before the firewall changes.

use std::collections::VecDeque;
use std::fmt;

use tracing::{debug, warn};

use crate::core::order::{Order, Report};
use crate::model::grant::{Change, Grant};
use crate::model::reason::Rule;

pub(super) enum Plan {
    Open {
        ticket: u64,
        change: Change,
        origin: Origin,
    },
    Close {
        ticket: u64,
        changes: Vec<Change>,
        /// The administrator named the grant's id.
        by_id: bool,
    },
    List {
        ticket: u64,
    },
    Answer(Report),
}

/// Where a grant was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Here,
    /// At another gate of this name, which says nothing of whether this one can be knocked at.
    Elsewhere,
}

impl Plan {
    pub(super) fn changes(&self) -> &[Change] {
        match self {
            Self::Open { change, .. } => std::slice::from_ref(change),
            Self::Close { changes, .. } => changes,
            Self::List { .. } | Self::Answer(_) => &[],
        }
    }
}

/// What an engine is told of a grant that was closed. It fits into one message with others.
pub(super) fn ended(grant: &Grant) -> Grant {
    Grant {
        services: Vec::new(),
        forwards: Vec::new(),
        ..grant.clone()
    }
}

pub(super) fn refused(ticket: u64, rule: Rule, why: &str) -> Plan {
    Plan::Answer(Report::Refused {
        ticket,
        rule,
        why: why.to_owned(),
    })
}

/// How many of the first orders make one batch. If one order closes a grant and a later one opens it, the ledger must know
/// of the close before it plans the other. An order that may close every grant is looked up among all of them, so it is the
/// last one.
pub(super) fn batch(orders: &VecDeque<Order>) -> usize {
    let mut closes = false;
    for (before, order) in orders.iter().enumerate() {
        match order {
            Order::End { .. } => return before.saturating_add(1),
            Order::Open { .. } | Order::Share { .. } if closes => return before,
            Order::Close { .. } => closes = true,
            _ => {}
        }
    }
    orders.len()
}

/// A coordinator can tell the same grant again and again, so the engine logs some of those.
pub(super) fn log_not_open(origin: Origin, user: &str, rule: Rule, what: fmt::Arguments<'_>) {
    let rule = rule.name();
    match origin {
        Origin::Here => warn!(user, rule, "not open: {what}"),
        Origin::Elsewhere => debug!(user, rule, "not open: {what}"),
    }
}
