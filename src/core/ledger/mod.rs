//! The ledger: which grants are open, and when each must close.
//!
//! Pure (invariant 1): requests and the time go in, changes for the firewall come out. The ledger changes at once and
//! learns afterwards what the firewall did. [`Ledger::undo`] takes back a change that failed. A close that failed
//! comes due again, so the ledger never forgets a grant that may be open (invariant 4).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::catalog::OpenPorts;
use crate::model::counters::GrantCounters;
use crate::model::grant::{Change, Grant, GrantId, ListedGrant};
use crate::model::request::{CloseRequest, OpenRequest};
use crate::model::time::{ClockStep, Timestamp};

/// The most ports that may be open at once, over all grants. A firewall can still list and rewrite so many.
pub const PORTS_MAX: usize = 32_768;

/// A forward needs as many firewall rules as three ports: one each to enter, to redirect and to pass.
const FORWARD_WEIGHT: usize = 3;

const CLOSE_AGAIN: Duration = Duration::from_secs(1);

/// A knock that extends its grant by less than this, and by less than an eighth of its duration, changes no firewall.
const LEAST_GAIN: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub struct Ledger {
    grants: BTreeMap<GrantId, Entry>,
    ends: BTreeSet<(Timestamp, GrantId)>,
    /// Finds the grants that a renewal may extend.
    by_key: BTreeMap<GrantKey, BTreeSet<GrantId>>,
    /// How many grants each user has.
    by_user: BTreeMap<String, usize>,
    last_id: u64,
    /// How much of [`PORTS_MAX`] is used.
    weight: usize,
    counters: GrantCounters,
    /// How many grants were looked at to carry out orders.
    lookups: u64,
}

#[derive(Debug)]
struct Entry {
    grant: Grant,
    /// The grant's end, or later if a close failed.
    close_at: Timestamp,
    /// The knocks that opened or extended it, since the ledger began.
    knocks: u64,
    /// The firewall holds exactly this grant.
    is_settled: bool,
}

/// What becomes of an allowed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    Change(Change),
    /// The grant stays as it is.
    Repeat(Grant),
}

type GrantKey = (String, ipnet::IpNet, Option<std::net::IpAddr>);

/// Why there is no room for another grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    #[error(
        "more than {PORTS_MAX} ports would be open at once; nothing more is opened until some grants end"
    )]
    Gate,
    #[error(
        "the user has {0} open grants, as many as max_grants allows; close one, or wait until one ends"
    )]
    User(usize),
}

impl Ledger {
    /// A ledger with the grants that were found open. New grants get numbers after `last_id`.
    pub fn new(last_id: u64, found: impl IntoIterator<Item = Grant>) -> Self {
        let mut ledger = Self {
            last_id,
            ..Self::default()
        };
        for grant in found {
            ledger.last_id = ledger.last_id.max(grant.id.0);
            ledger.insert(grant, 0, true);
        }
        ledger
    }

    /// Opens a grant until `now` plus the duration. If the same user has a grant for the same address, target and
    /// ports, that one is extended instead, and never shortened. `ports` are those of the requested services. The user
    /// has at most `max_grants` grants afterwards, or as many as before.
    ///
    /// With `may_repeat` a knock for a grant that ends hardly earlier is only counted: a client that waits knocks several
    /// times a second, and a change of the firewall for each would cost more than it gives.
    pub fn open(
        &mut self,
        now: Timestamp,
        request: &OpenRequest,
        ports: OpenPorts,
        max_grants: usize,
        may_repeat: bool,
    ) -> Result<Opening, Full> {
        let mut new = self.wanted(now, request, ports);
        if let Some(same) = self.find_same(&new) {
            let least = LEAST_GAIN.min(request.duration / 8);
            let is_small = new.until.since(same.grant.until) < least;
            let id = same.grant.id;
            if may_repeat && is_small && same.is_open(now) {
                let grant = same.grant.clone();
                self.count_knock(id);
                self.counters.extended = self.counters.extended.saturating_add(1);
                return Ok(Opening::Repeat(grant));
            }
            if let Some(Entry { grant, knocks, .. }) = self.remove(id) {
                new.id = id;
                new.until = new.until.max(grant.until);
                self.insert(new.clone(), knocks, false);
                return Ok(Opening::Change(Change::Extend { old: grant, new }));
            }
        }
        self.add(new, max_grants).map(Opening::Change)
    }

    /// As [`Ledger::open`], but only for a new grant. `None` if the request extends one, or there is no room.
    pub fn open_new(
        &mut self,
        now: Timestamp,
        request: &OpenRequest,
        ports: OpenPorts,
        max_grants: usize,
    ) -> Option<Change> {
        let new = self.wanted(now, request, ports);
        let is_new = self.find_same(&new).is_none();
        is_new.then(|| self.add(new, max_grants).ok()).flatten()
    }

    fn wanted(&self, now: Timestamp, request: &OpenRequest, ports: OpenPorts) -> Grant {
        Grant {
            id: GrantId(self.last_id.saturating_add(1)),
            user: request.user.clone(),
            allow: request.allow,
            target: request.target,
            services: ports.services,
            forwards: ports.forwards,
            until: now.plus(request.duration),
        }
    }

    fn add(&mut self, new: Grant, max_grants: usize) -> Result<Change, Full> {
        let open = self.by_user.get(&new.user).copied().unwrap_or_default();
        if open >= max_grants {
            return Err(Full::User(open));
        }
        if self.weight.saturating_add(weight(&new)) > PORTS_MAX {
            return Err(Full::Gate);
        }
        self.last_id = new.id.0;
        self.insert(new.clone(), 0, false);
        Ok(Change::Open(new))
    }

    /// How many knocks opened or extended a grant, since the ledger began.
    pub fn knocks(&self, id: GrantId) -> u64 {
        self.grants.get(&id).map_or(0, |entry| entry.knocks)
    }

    fn count_knock(&mut self, id: GrantId) {
        if let Some(entry) = self.grants.get_mut(&id) {
            entry.knocks = entry.knocks.saturating_add(1);
            entry.is_settled = true;
        }
    }

    /// The grants that a `close` knock ends.
    pub fn close(&mut self, request: &CloseRequest, asked: &OpenPorts) -> Vec<Change> {
        let first: GrantKey = (request.user.clone(), request.allow, None);
        let is_own = |key: &GrantKey| key.0 == request.user && key.1 == request.allow;
        let own = self.by_key.range(first..);
        let own = own.take_while(|(key, _)| is_own(key));
        let own: BTreeSet<GrantId> = own.flat_map(|(_, ids)| ids).copied().collect();
        self.count_lookups(own.len());
        let closes = |grant: &&Grant| {
            let is_covered = || asked.cover(&grant.services, &grant.forwards);
            request.services.is_empty() || (grant.target == request.target && is_covered())
        };
        let own = own.iter().filter_map(|id| self.grants.get(id));
        let own = own.map(|entry| &entry.grant).filter(closes);
        own.cloned().map(Change::Close).collect()
    }

    /// Closes the grants that pass the test. They stay in the ledger until [`Ledger::done`].
    pub fn close_where(&mut self, test: impl Fn(&Grant) -> bool) -> Vec<Change> {
        self.count_lookups(self.grants.len());
        self.grants()
            .filter(|grant| test(grant))
            .cloned()
            .map(Change::Close)
            .collect()
    }

    /// Closes at most `most` grants that are due. They stay in the ledger until [`Ledger::done`].
    pub fn due(&self, now: Timestamp, most: usize) -> Vec<Change> {
        let due = self
            .ends
            .iter()
            .take_while(|(end, _)| *end <= now)
            .take(most);
        due.filter_map(|(_, id)| self.grants.get(id))
            .map(|entry| Change::Close(entry.grant.clone()))
            .collect()
    }

    pub fn next_end(&self) -> Option<Timestamp> {
        self.ends.first().map(|(end, _)| *end)
    }

    /// The firewall carried out the change.
    pub fn done(&mut self, change: &Change) {
        let count = match change {
            Change::Open(_) => &mut self.counters.opened,
            Change::Extend { .. } => &mut self.counters.extended,
            Change::Close(_) => &mut self.counters.closed,
        };
        *count = count.saturating_add(1);
        match change {
            Change::Open(grant) | Change::Extend { new: grant, .. } => self.count_knock(grant.id),
            Change::Close(grant) => drop(self.remove(grant.id)),
        }
    }

    /// How many grants were looked at to find those of an order.
    pub fn lookups(&self) -> u64 {
        self.lookups
    }

    fn count_lookups(&mut self, grants: usize) {
        let grants = u64::try_from(grants).unwrap_or(u64::MAX);
        self.lookups = self.lookups.saturating_add(grants);
    }

    /// Totals of the changes that were carried out.
    pub fn counters(&self) -> GrantCounters {
        self.counters
    }

    /// The firewall failed: a new grant is removed, and a close comes due again.
    pub fn undo(&mut self, now: Timestamp, change: &Change) {
        match change {
            Change::Open(grant) if self.holds(grant) => drop(self.remove(grant.id)),
            Change::Extend { old, new } if self.holds(new) => {
                let knocks = self.remove(new.id).map_or(0, |entry| entry.knocks);
                self.insert(old.clone(), knocks, false);
            }
            Change::Close(grant) => self.put_off(grant.id, now.plus(CLOSE_AGAIN)),
            Change::Open(_) | Change::Extend { .. } => {}
        }
    }

    /// The clock was set: every grant keeps its remaining time.
    pub fn shift(&mut self, step: ClockStep) {
        for entry in self.grants.values_mut() {
            entry.grant.until = entry.grant.until.stepped(step);
            entry.close_at = entry.close_at.stepped(step);
            entry.is_settled = false;
        }
        self.ends = self
            .grants
            .iter()
            .map(|(id, entry)| (entry.close_at, *id))
            .collect();
    }

    /// Moves ends to earlier times. The firewall still has the old ones.
    pub fn shorten(&mut self, end: impl Fn(&Grant) -> Timestamp) {
        for entry in self.grants.values_mut() {
            let end = end(&entry.grant);
            if end < entry.grant.until {
                self.ends.remove(&(entry.close_at, entry.grant.id));
                entry.grant.until = end;
                entry.close_at = entry.close_at.min(end);
                entry.is_settled = false;
                self.ends.insert((entry.close_at, entry.grant.id));
            }
        }
    }

    pub fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.grants.values().map(|entry| &entry.grant)
    }

    pub fn listed(&self) -> impl Iterator<Item = ListedGrant> {
        self.grants.values().map(|entry| ListedGrant {
            grant: entry.grant.clone(),
            knocks: entry.knocks,
        })
    }

    pub fn len(&self) -> usize {
        self.grants.len()
    }

    pub fn is_empty(&self) -> bool {
        self.grants.is_empty()
    }

    fn holds(&self, grant: &Grant) -> bool {
        self.grants
            .get(&grant.id)
            .is_some_and(|entry| entry.grant == *grant)
    }

    fn find_same(&mut self, wanted: &Grant) -> Option<&Entry> {
        let key = key(wanted);
        self.count_lookups(self.by_key.get(&key).map_or(0, BTreeSet::len));
        let ids = self.by_key.get(&key)?;
        ids.iter()
            .filter_map(|id| self.grants.get(id))
            .find(|entry| entry.grant.opens_same(wanted))
    }

    fn insert(&mut self, grant: Grant, knocks: u64, is_settled: bool) {
        self.weight = self.weight.saturating_add(weight(&grant));
        let of_user = self.by_user.entry(grant.user.clone()).or_default();
        *of_user = of_user.saturating_add(1);
        self.ends.insert((grant.until, grant.id));
        self.by_key.entry(key(&grant)).or_default().insert(grant.id);
        self.grants.insert(
            grant.id,
            Entry {
                close_at: grant.until,
                grant,
                knocks,
                is_settled,
            },
        );
    }

    fn remove(&mut self, id: GrantId) -> Option<Entry> {
        let entry = self.grants.remove(&id)?;
        let grant = &entry.grant;
        self.weight = self.weight.saturating_sub(weight(grant));
        if let Some(of_user) = self.by_user.get_mut(&grant.user) {
            *of_user = of_user.saturating_sub(1);
            if *of_user == 0 {
                self.by_user.remove(&grant.user);
            }
        }
        self.ends.remove(&(entry.close_at, id));
        let key = key(grant);
        if let Some(ids) = self.by_key.get_mut(&key) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_key.remove(&key);
            }
        }
        Some(entry)
    }

    fn put_off(&mut self, id: GrantId, until: Timestamp) {
        if let Some(entry) = self.grants.get_mut(&id) {
            self.ends.remove(&(entry.close_at, id));
            entry.close_at = until;
            self.ends.insert((until, id));
        }
    }
}

impl Entry {
    /// The firewall has it, and it is to stay there.
    fn is_open(&self, now: Timestamp) -> bool {
        self.is_settled && self.close_at == self.grant.until && self.grant.until > now
    }
}

/// A grant without ports counts too: it takes memory.
fn weight(grant: &Grant) -> usize {
    grant
        .services
        .len()
        .saturating_add(grant.forwards.len().saturating_mul(FORWARD_WEIGHT))
        .max(1)
}

fn key(grant: &Grant) -> GrantKey {
    (grant.user.clone(), grant.allow, grant.target)
}

#[cfg(test)]
mod tests;
