//! The ledger: which grants are open, and when each must close.
//!
//! Pure (invariant 1): requests and the time go in, changes for the firewall come out. The ledger changes at once and
//! learns afterwards what the firewall did. [`Ledger::undo`] takes back a change that failed. A close that failed
//! comes due again, so the ledger never forgets a grant that may be open (invariant 4).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::catalog::OpenPorts;
use crate::model::counters::GrantCounters;
use crate::model::grant::{Change, Grant, GrantId};
use crate::model::request::{CloseRequest, OpenRequest};
use crate::model::service;
use crate::model::time::{ClockStep, Timestamp};

/// The most ports that may be open at once, over all grants. A firewall can still list and rewrite so many.
pub const PORTS_MAX: usize = 32_768;

/// A forward needs as many firewall rules as three ports: one each to enter, to redirect and to pass.
const FORWARD_WEIGHT: usize = 3;

const CLOSE_AGAIN: Duration = Duration::from_secs(1);

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
            ledger.insert(grant);
        }
        ledger
    }

    /// Opens a grant until `now` plus the duration. If the same user has a grant for the same address, target and
    /// ports, that one is extended instead, and never shortened. `ports` are those of the requested services. The user
    /// has at most `max_grants` grants afterwards, or as many as before.
    pub fn open(
        &mut self,
        now: Timestamp,
        request: &OpenRequest,
        ports: OpenPorts,
        max_grants: usize,
    ) -> Result<Change, Full> {
        let mut new = Grant {
            id: GrantId(self.last_id.saturating_add(1)),
            user: request.user.clone(),
            allow: request.allow,
            target: request.target,
            services: ports.services,
            forwards: ports.forwards,
            until: now.plus(request.duration),
        };
        if let Some(old) = self.find_same(&new).cloned() {
            new.id = old.id;
            new.until = new.until.max(old.until);
            self.remove(old.id);
            self.insert(new.clone());
            return Ok(Change::Extend { old, new });
        }
        let open = self.by_user.get(&new.user).copied().unwrap_or_default();
        if open >= max_grants {
            return Err(Full::User(open));
        }
        if self.weight.saturating_add(weight(&new)) > PORTS_MAX {
            return Err(Full::Gate);
        }
        self.last_id = new.id.0;
        self.insert(new.clone());
        Ok(Change::Open(new))
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
            let services = grant
                .services
                .iter()
                .all(|open| service::covered(&asked.services, *open));
            let forwards = grant
                .forwards
                .iter()
                .all(|open| asked.forwards.contains(open));
            request.services.is_empty() || (grant.target == request.target && services && forwards)
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
        if let Change::Close(grant) = change {
            self.remove(grant.id);
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
            Change::Open(grant) if self.holds(grant) => self.remove(grant.id),
            Change::Extend { old, new } if self.holds(new) => {
                self.remove(new.id);
                self.insert(old.clone());
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
        }
        self.ends = self
            .grants
            .iter()
            .map(|(id, entry)| (entry.close_at, *id))
            .collect();
    }

    pub fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.grants.values().map(|entry| &entry.grant)
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

    fn find_same(&mut self, wanted: &Grant) -> Option<&Grant> {
        let key = key(wanted);
        self.count_lookups(self.by_key.get(&key).map_or(0, BTreeSet::len));
        let ids = self.by_key.get(&key)?;
        ids.iter()
            .filter_map(|id| self.grants.get(id))
            .map(|entry| &entry.grant)
            .find(|grant| grant.opens_same(wanted))
    }

    fn insert(&mut self, grant: Grant) {
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
            },
        );
    }

    fn remove(&mut self, id: GrantId) {
        let Some(Entry { grant, close_at }) = self.grants.remove(&id) else {
            return;
        };
        self.weight = self.weight.saturating_sub(weight(&grant));
        if let Some(of_user) = self.by_user.get_mut(&grant.user) {
            *of_user = of_user.saturating_sub(1);
            if *of_user == 0 {
                self.by_user.remove(&grant.user);
            }
        }
        self.ends.remove(&(close_at, id));
        let key = key(&grant);
        if let Some(ids) = self.by_key.get_mut(&key) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_key.remove(&key);
            }
        }
    }

    fn put_off(&mut self, id: GrantId, until: Timestamp) {
        if let Some(entry) = self.grants.get_mut(&id) {
            self.ends.remove(&(entry.close_at, id));
            entry.close_at = until;
            self.ends.insert((until, id));
        }
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
mod tests {
    use super::*;
    use crate::core::fixture;
    use crate::model::catalog::Forward;

    const HOME: &str = "192.0.2.7/32";

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn request(user: &str, allow: &str, seconds: u64) -> OpenRequest {
        fixture::request(user, allow, &[], seconds)
    }

    fn ports(text: &[&str]) -> OpenPorts {
        OpenPorts {
            services: service::joined(text.iter().map(|one| one.parse().unwrap()).collect()),
            forwards: Vec::new(),
        }
    }

    fn close(services: &[&str]) -> CloseRequest {
        CloseRequest {
            user: "alice".to_owned(),
            allow: HOME.parse().unwrap(),
            target: None,
            services: services.iter().map(|one| one.parse().unwrap()).collect(),
        }
    }

    impl Ledger {
        fn try_open(
            &mut self,
            now: Timestamp,
            request: &OpenRequest,
            ports: OpenPorts,
        ) -> Result<Change, Full> {
            self.open(now, request, ports, PORTS_MAX)
        }

        /// Opens for `HOME`.
        fn opens(&mut self, now: u64, user: &str, seconds: u64, services: &[&str]) -> Grant {
            self.opens_for(now, &request(user, HOME, seconds), services)
        }

        fn opens_for(&mut self, now: u64, request: &OpenRequest, services: &[&str]) -> Grant {
            match self.try_open(at(now), request, ports(services)).unwrap() {
                Change::Open(grant) | Change::Extend { new: grant, .. } => grant,
                Change::Close(_) => panic!("nothing closes on open"),
            }
        }
    }

    #[test]
    fn a_grant_is_due_at_its_end() {
        let mut ledger = Ledger::default();
        let grant = ledger.opens(100, "alice", 30, &["tcp/22"]);
        assert_eq!(ledger.next_end(), Some(at(130)));
        assert!(ledger.due(Timestamp::from_millis(129_999), 10).is_empty());
        let due = ledger.due(at(130), 10);
        assert_eq!(due, [Change::Close(grant)]);
        ledger.undo(at(130), &due[0]);
        assert!(ledger.due(at(130), 10).is_empty() && ledger.len() == 1);
        assert_eq!(ledger.due(at(131), 10), due, "a failed close is due again");
        ledger.done(&due[0]);
        assert!(ledger.is_empty() && ledger.next_end().is_none());
    }

    #[test]
    fn grants_keep_their_remaining_time_when_the_clock_is_set() {
        let mut ledger = Ledger::default();
        let first = ledger.opens(1000, "alice", 30, &["tcp/22"]);
        ledger.opens(1000, "bob", 60, &["tcp/22"]);
        ledger.undo(at(1030), &Change::Close(first));
        ledger.shift(ClockStep::Back(Duration::from_secs(900)));
        let ends: Vec<Timestamp> = ledger.grants().map(|grant| grant.until).collect();
        assert_eq!(ends, [at(130), at(160)]);
        let expected = Some(at(131));
        assert_eq!(ledger.next_end(), expected, "a failed close moves, too");
        ledger.shift(ClockStep::Forward(Duration::from_secs(900)));
        let due = ledger.due(at(1060), 10);
        assert_eq!(due.len(), 2);
        due.iter().for_each(|change| ledger.done(change));
        assert!(ledger.is_empty() && ledger.next_end().is_none());
    }

    #[test]
    fn a_renewal_extends_and_never_shortens() {
        let mut ledger = Ledger::default();
        let first = ledger.opens(100, "alice", 30, &["tcp/22", "tcp/80"]);
        for (now, seconds) in [(110, 30), (120, 5)] {
            let renewed = ledger.opens(now, "alice", seconds, &["tcp/80", "tcp/22"]);
            assert_eq!((renewed.id, renewed.until), (first.id, at(140)));
        }
        assert_eq!(ledger.len(), 1);
        ledger.opens(120, "bob", 5, &["tcp/22"]);
        ledger.opens_for(120, &request("alice", "192.0.2.8/32", 5), &["tcp/22"]);
        ledger.opens(120, "alice", 5, &["tcp/23"]);
        assert_eq!(ledger.len(), 4);
    }

    #[test]
    fn failed_changes_are_taken_back() {
        let mut ledger = Ledger::default();
        let mut open = |now| {
            let change = ledger.try_open(at(now), &request("alice", HOME, 30), ports(&["tcp/22"]));
            change.unwrap()
        };
        let (change, extend) = (open(100), open(110));
        ledger.undo(at(110), &extend);
        assert_eq!(ledger.next_end(), Some(at(130)));
        ledger.undo(at(110), &change);
        assert!(ledger.is_empty() && ledger.next_end().is_none() && ledger.by_key.is_empty());
    }

    #[test]
    fn a_user_closes_only_his_own_grants() {
        let mut ledger = Ledger::default();
        ledger.opens(100, "alice", 30, &["tcp/22"]);
        ledger.opens(100, "alice", 30, &["tcp/80"]);
        ledger.opens_for(100, &request("alice", "192.0.2.8/32", 30), &["tcp/22"]);
        ledger.opens(100, "bob", 30, &["tcp/22"]);
        for (services, closed) in [
            (&[][..], 2),
            (&["tcp/22"], 1),
            (&["tcp/23"], 0),
            (&["tcp/1-1000"], 2),
        ] {
            let changes = ledger.close(&close(services), &ports(services));
            assert_eq!(changes.len(), closed, "{services:?}");
        }
    }

    #[test]
    fn a_forward_closes_only_by_its_own_name() {
        let mut ledger = Ledger::default();
        let leading = |port| {
            let (at, host) = ("tcp/2222".parse().unwrap(), "10.0.0.5".parse().unwrap());
            OpenPorts {
                services: Vec::new(),
                forwards: vec![Forward::new(at, host, Some(port), false).unwrap()],
            }
        };
        let home = request("alice", HOME, 30);
        for opened in [leading(22), leading(23), ports(&["tcp/2222"])] {
            ledger.try_open(at(100), &home, opened).unwrap();
        }
        let again = ledger.try_open(at(110), &home, leading(22)).unwrap();
        assert!(matches!(again, Change::Extend { .. }) && ledger.len() == 3);
        assert_eq!(ledger.close(&close(&["inner"]), &leading(22)).len(), 1);
        let port = ports(&["tcp/2222"]);
        assert_eq!(ledger.close(&close(&["tcp/2222"]), &port).len(), 1);
        assert_eq!(ledger.close(&close(&[]), &OpenPorts::default()).len(), 3);
    }

    #[test]
    fn a_full_ledger_refuses_until_a_grant_ends() {
        let many: Vec<String> = (1..=64).map(|port| format!("tcp/{}", port * 2)).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let mut ledger = Ledger::default();
        let address = |n: usize| format!("10.0.{}.{}/32", n / 256, n % 256);
        for n in 0..PORTS_MAX / many.len() {
            ledger.opens_for(1, &request("alice", &address(n), 30), &many);
        }
        let bob = request("bob", HOME, 30);
        assert_eq!(
            ledger.try_open(at(1), &bob, ports(&["tcp/22"])),
            Err(Full::Gate)
        );
        let renewal = ledger.try_open(at(2), &request("alice", &address(0), 30), ports(&many));
        assert!(matches!(renewal, Ok(Change::Extend { .. })));
        let due = ledger.due(at(31), 1);
        ledger.done(&due[0]);
        assert!(ledger.try_open(at(31), &bob, ports(&many)).is_ok());
        assert_eq!(
            ledger.try_open(
                at(31),
                &request("bob", "192.0.2.8/32", 30),
                ports(&["tcp/22"])
            ),
            Err(Full::Gate)
        );
    }

    #[test]
    fn an_empty_grant_counts_as_one_port() {
        let grant = |n: u32| Grant {
            allow: std::net::IpAddr::from(std::net::Ipv4Addr::from(n)).into(),
            until: at(1000),
            ..fixture::grant(u64::from(n) + 1, "alice", HOME, &[])
        };
        let mut ledger = Ledger::new(0, (0..u32::try_from(PORTS_MAX).unwrap()).map(grant));
        let bob = request("bob", HOME, 1);
        assert_eq!(
            ledger.try_open(at(1), &bob, ports(&["tcp/22"])),
            Err(Full::Gate)
        );
    }

    #[test]
    fn one_user_leaves_room_for_others() {
        let mut ledger = Ledger::default();
        let mut open = |now, user, services: &[&str]| {
            ledger.open(at(now), &request(user, HOME, 30), ports(services), 2)
        };
        for (now, services) in [(1, &["tcp/22"][..]), (1, &["tcp/80"]), (2, &["tcp/22"])] {
            assert!(open(now, "alice", services).is_ok(), "a renewal, too");
        }
        assert_eq!(open(2, "alice", &["tcp/443"]), Err(Full::User(2)));
        assert!(open(2, "bob", &["tcp/443"]).is_ok());
        let due = ledger.due(at(31), 1);
        ledger.done(&due[0]);
        let third = request("alice", HOME, 30);
        assert!(ledger.open(at(31), &third, ports(&["tcp/443"]), 2).is_ok());
        ledger
            .close_where(|_| true)
            .iter()
            .for_each(|change| ledger.done(change));
        assert!(ledger.by_user.is_empty());
    }

    #[test]
    fn closing_looks_only_at_the_users_grants() {
        let mut ledger = Ledger::default();
        for n in 0..250 {
            let allow = format!("10.0.0.{n}/32");
            ledger.opens_for(1, &request("alice", &allow, 30), &["tcp/22"]);
            ledger.opens_for(1, &request("bob", HOME, 30), &[&format!("tcp/{}", n + 1)]);
        }
        ledger.opens(1, "alice", 30, &["tcp/22"]);
        let before = ledger.lookups();
        assert_eq!(ledger.close(&close(&[]), &OpenPorts::default()).len(), 1);
        assert_eq!(ledger.lookups() - before, 1);
    }
}
