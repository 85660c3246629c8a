//! The shared grants that were closed, remembered until every publication of them has ended.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::fleet::{ClosedGrant, SharedId};
use crate::model::time::Timestamp;

const CLOSED_MAX: usize = 65_536;

#[derive(Debug, Default)]
pub(super) struct Closed {
    grants: BTreeMap<SharedId, (Timestamp, Timestamp)>,
    ends: BTreeSet<(Timestamp, SharedId)>,
    /// Until then some closed grant is not remembered.
    overflow: Timestamp,
}

impl Closed {
    /// Remembers it, for a later time if it was closed before. Returns what must be stored; `None` if that is known.
    pub(super) fn insert(&mut self, grant: ClosedGrant) -> Option<ClosedGrant> {
        let ClosedGrant { id, at, until } = grant;
        let known = self.grants.get(&id).copied();
        if known.is_some_and(|(known, end)| known >= at && end >= until) {
            return None;
        }
        if known.is_none() && self.grants.len() >= CLOSED_MAX {
            self.overflow = self.overflow.max(until);
            return None;
        }
        let (before, end) = known.unwrap_or_default();
        self.ends.remove(&(end, id));
        let (at, until) = (at.max(before), until.max(end));
        self.ends.insert((until, id));
        self.grants.insert(id, (at, until));
        Some(ClosedGrant { id, at, until })
    }

    /// Whether a publication of the grant that was made then is closed.
    pub(super) fn covers(&self, id: SharedId, made: Timestamp) -> bool {
        self.at(id).is_some_and(|at| made <= at)
    }

    /// When it was closed.
    pub(super) fn at(&self, id: SharedId) -> Option<Timestamp> {
        self.grants.get(&id).map(|(at, _)| *at)
    }

    /// Whether nobody can tell which grants were closed.
    pub(super) fn overflows(&self, now: Timestamp) -> bool {
        now < self.overflow
    }

    /// Returns the latest end of those that it forgets.
    pub(super) fn forget_ended(&mut self, now: Timestamp) -> Timestamp {
        let mut latest = Timestamp::default();
        while let Some((until, id)) = self
            .ends
            .first()
            .copied()
            .filter(|(until, _)| *until <= now)
        {
            self.ends.remove(&(until, id));
            self.grants.remove(&id);
            latest = until;
        }
        latest
    }
}
