//! The live grants of all gates of the name, and which of them are open here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::content::{Names, SharedGrant};
use crate::model::fleet::{ClusterGrant, SharedId};
use crate::model::grant::GrantId;
use crate::model::time::Timestamp;

/// The most live grants that a gate knows of.
pub(super) const GRANTS_MAX: usize = 16_384;

#[derive(Debug, Default)]
pub(super) struct Table {
    entries: BTreeMap<SharedId, LiveGrant>,
    ends: BTreeSet<(Timestamp, SharedId)>,
    /// Their ids, each behind one of its names.
    names: BTreeSet<(SharedId, SharedId)>,
    /// How many each user has.
    by_user: BTreeMap<String, usize>,
    /// Those of other gates that are to be ordered, each once.
    wanted: VecDeque<SharedId>,
    is_wanted: BTreeSet<SharedId>,
}

#[derive(Debug, Clone)]
pub(super) struct LiveGrant {
    pub member: String,
    /// When the gate that admitted it made it.
    pub made: Timestamp,
    pub grant: SharedGrant,
    pub names: Names,
    pub here: Here,
}

/// What became of a shared grant at this gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Here {
    /// It waits for the monitor.
    Ordered,
    Open {
        id: GrantId,
        until: Timestamp,
    },
    Refused(&'static str),
}

impl Table {
    pub(super) fn get(&self, id: SharedId) -> Option<&LiveGrant> {
        self.entries.get(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// A user gets no more room than stays free. An owner of the fleet key can still fill all of it, with invented users.
    pub(super) fn has_room_for(&self, id: SharedId, user: &str) -> bool {
        let left = GRANTS_MAX.saturating_sub(self.entries.len());
        let own = self.by_user.get(user).copied().unwrap_or_default();
        own < left || self.entries.contains_key(&id)
    }

    /// Adds it, or its renewal. A grant that is open stays so, whatever becomes of its renewal.
    pub(super) fn put(&mut self, id: SharedId, mut entry: LiveGrant) {
        if let Some(before) = self.remove(id) {
            entry.grant.until = entry.grant.until.max(before.grant.until);
            entry.made = entry.made.max(before.made);
            if let Here::Open { .. } = before.here {
                entry.here = before.here;
            }
        }
        self.ends.insert((entry.grant.until, id));
        self.names.extend(entry.names.map(|name| (name, id)));
        let own = self.by_user.entry(entry.grant.user.clone()).or_default();
        *own = own.saturating_add(1);
        self.entries.insert(id, entry);
    }

    pub(super) fn remove(&mut self, id: SharedId) -> Option<LiveGrant> {
        let entry = self.entries.remove(&id)?;
        self.ends.remove(&(entry.grant.until, id));
        for name in entry.names {
            self.names.remove(&(name, id));
        }
        if let Some(own) = self.by_user.get_mut(&entry.grant.user) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                self.by_user.remove(&entry.grant.user);
            }
        }
        Some(entry)
    }

    /// Those with this id or of this group that were made until then.
    pub(super) fn closed_by(&self, name: SharedId, at: Timestamp) -> Vec<SharedId> {
        let (first, last) = (SharedId([0; 16]), SharedId([u8::MAX; 16]));
        let named = self.names.range((name, first)..=(name, last));
        let is_old = |id: &SharedId| self.get(*id).is_some_and(|entry| entry.made <= at);
        named.map(|(_, id)| *id).filter(is_old).collect()
    }

    pub(super) fn want(&mut self, id: SharedId) {
        if self.wanted.len() >= 2 * GRANTS_MAX {
            // Nothing is ordered while the watch is broken, and most of these are closed or over.
            let entries = &self.entries;
            self.wanted.retain(|id| entries.contains_key(id));
            self.is_wanted.retain(|id| entries.contains_key(id));
        }
        if self.is_wanted.insert(id) {
            self.wanted.push_back(id);
        }
    }

    pub(super) fn next_wanted(&mut self) -> Option<SharedId> {
        let id = self.wanted.pop_front()?;
        self.is_wanted.remove(&id);
        Some(id)
    }

    /// False if it is gone, because it was closed or has ended.
    pub(super) fn is_now(&mut self, id: SharedId, here: Here) -> bool {
        let entry = self.entries.get_mut(&id);
        entry.map(|entry| entry.here = here).is_some()
    }

    /// Its order, or that of its renewal, is refused.
    pub(super) fn refuse(&mut self, id: SharedId, why: &'static str) {
        let entry = self.entries.get_mut(&id);
        if let Some(entry) = entry.filter(|entry| entry.here().is_none()) {
            entry.here = Here::Refused(why);
        }
    }

    /// Those for which this holds.
    pub(super) fn ids(&self, test: impl Fn(&LiveGrant) -> bool) -> Vec<SharedId> {
        let entries = self.entries.iter().filter(|(_, entry)| test(entry));
        entries.map(|(id, _)| *id).collect()
    }

    pub(super) fn forget_ended(&mut self, now: Timestamp) {
        while let Some((until, id)) = self
            .ends
            .first()
            .copied()
            .filter(|(until, _)| *until <= now)
        {
            self.ends.remove(&(until, id));
            self.remove(id);
        }
    }

    pub(super) fn list(&self, now: Timestamp) -> Vec<ClusterGrant> {
        let listed = self.entries.iter().map(|(id, entry)| {
            let (here, refused) = match entry.here {
                Here::Open { id, until } if until > now => (Some(id), None),
                Here::Open { .. } => (None, Some("duration")),
                Here::Ordered => (None, None),
                Here::Refused(why) => (None, Some(why)),
            };
            ClusterGrant {
                id: *id,
                member: entry.member.clone(),
                user: entry.grant.user.clone(),
                allow: entry.grant.allow,
                target: entry.grant.target,
                services: entry.grant.services.clone(),
                until: entry.grant.until,
                here,
                refused: refused.map(str::to_owned),
            }
        });
        listed.collect()
    }
}

impl LiveGrant {
    /// The grant at this gate.
    pub(super) fn here(&self) -> Option<GrantId> {
        match self.here {
            Here::Open { id, .. } => Some(id),
            Here::Ordered | Here::Refused(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::fixture;

    /// An owner of the fleet key publishes short grants while the watch is broken.
    #[test]
    fn grants_that_are_over_wait_for_no_order() {
        let request = fixture::request("alice", "192.0.2.7/32", &["tcp/22"], 1);
        let source = "192.0.2.7".parse().unwrap();
        let mut table = Table::default();
        for second in 0..100_000_u64 {
            let now = Timestamp::from_millis(second * 1000);
            table.forget_ended(now);
            let id = SharedId(u128::from(second).to_be_bytes());
            let entry = LiveGrant {
                member: String::new(),
                made: now,
                grant: SharedGrant::of(&request, source, now),
                names: [id; 5],
                here: Here::Ordered,
            };
            table.put(id, entry);
            table.want(id);
        }
        assert!(
            table.wanted.len() <= 2 * GRANTS_MAX && table.wanted.len() == table.is_wanted.len()
        );
    }
}
