//! The ledger: what is open, and when must it close?
//!
//! A plain struct: grants and the time go in, changes for the firewall come out. No I/O, no clock (invariant 1).
//! It changes at once and is told afterwards what the firewall did: [`Ledger::undo`] takes back what was not done,
//! and a close that failed comes due again, so that a door is never forgotten while it may be open (invariant 4).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::catalog::OpenPorts;
use crate::model::counters::GrantCounters;
use crate::model::grant::{Change, Grant, GrantId};
use crate::model::request::{CloseRequest, OpenRequest};
use crate::model::service;
use crate::model::time::{ClockStep, Timestamp};

/// Ports that may be open at once, over all grants: so many that a firewall can still list and rewrite them all. One more is refused.
pub const PORTS_MAX: usize = 32_768;

/// A forward takes as much of a firewall as this many ports: where it comes in, is led on, and is let through.
const FORWARD_WEIGHT: usize = 3;

/// A close that failed is tried again after this.
const CLOSE_AGAIN: Duration = Duration::from_secs(1);

/// What is open.
#[derive(Debug, Default)]
pub struct Ledger {
    grants: BTreeMap<GrantId, Entry>,
    /// When each grant is next to be closed.
    ends: BTreeSet<(Timestamp, GrantId)>,
    /// Finds the doors that a renewal may extend.
    doors: BTreeMap<Door, BTreeSet<GrantId>>,
    last_id: u64,
    /// How much of [`PORTS_MAX`] is taken.
    weight: usize,
    turnover: GrantCounters,
}

#[derive(Debug)]
struct Entry {
    grant: Grant,
    /// The grant's end, or later where a close failed.
    close_at: Timestamp,
}

/// User, address and target.
type Door = (String, ipnet::IpNet, Option<std::net::IpAddr>);

/// The ledger is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "more than {PORTS_MAX} ports would be open at once; nothing more is opened until some grants end"
)]
pub struct Full;

impl Ledger {
    /// A ledger that holds what was found open and numbers new grants after `last_id`.
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

    /// Opens a door until `now` plus the terms' duration. A door that the same user has open for the same address, target
    /// and ports is extended instead, and never shortened. `opening` is what the services of the terms mean at this gate.
    ///
    /// # Errors
    /// When the ledger is full.
    pub fn open(
        &mut self,
        now: Timestamp,
        request: &OpenRequest,
        opening: OpenPorts,
    ) -> Result<Change, Full> {
        let mut new = Grant {
            id: GrantId(self.last_id.saturating_add(1)),
            user: request.user.clone(),
            allow: request.allow,
            target: request.target,
            services: opening.services,
            forwards: opening.forwards,
            until: now.plus(request.duration),
        };
        if let Some(old) = self.find_door(&new).cloned() {
            new.id = old.id;
            new.until = new.until.max(old.until);
            self.remove(old.id);
            self.insert(new.clone());
            return Ok(Change::Extend { old, new });
        }
        if self.weight.saturating_add(weight(&new)) > PORTS_MAX {
            return Err(Full);
        }
        self.last_id = new.id.0;
        self.insert(new.clone());
        Ok(Change::Open(new))
    }

    /// The grants that a user's knock closes.
    pub fn close(&self, request: &CloseRequest, asked: &OpenPorts) -> Vec<Change> {
        self.close_where(|grant| {
            let own = grant.user == request.user && grant.allow == request.allow;
            let services = grant
                .services
                .iter()
                .all(|open| service::covered(&asked.services, *open));
            let forwards = grant
                .forwards
                .iter()
                .all(|open| asked.forwards.contains(open));
            own && (request.services.is_empty()
                || (grant.target == request.target && services && forwards))
        })
    }

    /// The grants that pass the test, to be closed. They stay in the ledger until [`Ledger::done`].
    pub fn close_where(&self, test: impl Fn(&Grant) -> bool) -> Vec<Change> {
        self.grants()
            .filter(|grant| test(grant))
            .cloned()
            .map(Change::Close)
            .collect()
    }

    /// At most `most` grants whose time has come, to be closed. They stay in the ledger until [`Ledger::done`].
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

    /// When the next grant is to be closed.
    pub fn next_end(&self) -> Option<Timestamp> {
        self.ends.first().map(|(end, _)| *end)
    }

    /// The firewall has done it.
    pub fn done(&mut self, change: &Change) {
        let once = match change {
            Change::Open(_) => GrantCounters {
                opened: 1,
                ..GrantCounters::default()
            },
            Change::Extend { .. } => GrantCounters {
                extended: 1,
                ..GrantCounters::default()
            },
            Change::Close(grant) => {
                self.remove(grant.id);
                GrantCounters {
                    closed: 1,
                    ..GrantCounters::default()
                }
            }
        };
        self.turnover = self.turnover.plus(once);
    }

    /// What was done so far.
    pub fn turnover(&self) -> GrantCounters {
        self.turnover
    }

    /// The firewall has not done it: what was to be opened is not open, what was to be closed comes due again.
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

    /// The clock was set: every grant keeps the time that it has left.
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

    /// All grants, by number.
    pub fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.grants.values().map(|entry| &entry.grant)
    }

    /// How many grants are open.
    pub fn len(&self) -> usize {
        self.grants.len()
    }

    /// Whether nothing is open.
    pub fn is_empty(&self) -> bool {
        self.grants.is_empty()
    }

    fn holds(&self, grant: &Grant) -> bool {
        self.grants
            .get(&grant.id)
            .is_some_and(|entry| entry.grant == *grant)
    }

    fn find_door(&self, wanted: &Grant) -> Option<&Grant> {
        let ids = self.doors.get(&door(wanted))?;
        ids.iter()
            .filter_map(|id| self.grants.get(id))
            .map(|entry| &entry.grant)
            .find(|grant| grant.same_door(wanted))
    }

    fn insert(&mut self, grant: Grant) {
        self.weight = self.weight.saturating_add(weight(&grant));
        self.ends.insert((grant.until, grant.id));
        self.doors.entry(door(&grant)).or_default().insert(grant.id);
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
        self.ends.remove(&(close_at, id));
        let door = door(&grant);
        if let Some(ids) = self.doors.get_mut(&door) {
            ids.remove(&id);
            if ids.is_empty() {
                self.doors.remove(&door);
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

/// A grant of nothing counts too, for it takes memory.
fn weight(grant: &Grant) -> usize {
    grant
        .services
        .len()
        .saturating_add(grant.forwards.len().saturating_mul(FORWARD_WEIGHT))
        .max(1)
}

fn door(grant: &Grant) -> Door {
    (grant.user.clone(), grant.allow, grant.target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::request::AddressFrom;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn request(user: &str, allow: &str, seconds: u64) -> OpenRequest {
        OpenRequest {
            user: user.to_owned(),
            allow: allow.parse().unwrap(),
            from: AddressFrom::Claimed,
            target: None,
            services: Vec::new(),
            duration: Duration::from_secs(seconds),
        }
    }

    fn ports(text: &[&str]) -> OpenPorts {
        OpenPorts {
            services: service::joined(text.iter().map(|one| one.parse().unwrap()).collect()),
            forwards: Vec::new(),
        }
    }

    fn open(
        ledger: &mut Ledger,
        now: u64,
        user: &str,
        allow: &str,
        seconds: u64,
        services: &[&str],
    ) -> Grant {
        match ledger
            .open(at(now), &request(user, allow, seconds), ports(services))
            .unwrap()
        {
            Change::Open(grant) | Change::Extend { new: grant, .. } => grant,
            Change::Close(_) => panic!("nothing closes on open"),
        }
    }

    #[test]
    fn a_grant_comes_due_at_its_end_and_not_before() {
        let mut ledger = Ledger::default();
        let grant = open(&mut ledger, 100, "alice", "192.0.2.7/32", 30, &["tcp/22"]);
        assert_eq!(ledger.next_end(), Some(at(130)));
        assert!(ledger.due(Timestamp::from_millis(129_999), 10).is_empty());
        let due = ledger.due(at(130), 10);
        assert_eq!(due, [Change::Close(grant)]);
        ledger.done(&due[0]);
        assert!(ledger.is_empty());
        assert_eq!(ledger.next_end(), None);
    }

    #[test]
    fn grants_keep_the_time_that_they_have_left_when_the_clock_is_set() {
        let mut ledger = Ledger::default();
        let first = open(&mut ledger, 1000, "alice", "192.0.2.7/32", 30, &["tcp/22"]);
        open(&mut ledger, 1000, "bob", "192.0.2.8/32", 60, &["tcp/22"]);
        ledger.undo(at(1030), &Change::Close(first));
        ledger.shift(ClockStep::Back(Duration::from_secs(900)));
        let ends: Vec<Timestamp> = ledger.grants().map(|grant| grant.until).collect();
        assert_eq!(
            (ends, ledger.next_end()),
            (vec![at(130), at(160)], Some(at(131))),
            "a close that failed is tried again a second later"
        );
        ledger.shift(ClockStep::Forward(Duration::from_secs(900)));
        let due = ledger.due(at(1060), 10);
        assert_eq!(due.len(), 2);
        due.iter().for_each(|change| ledger.done(change));
        assert!(ledger.is_empty() && ledger.next_end().is_none());
    }

    #[test]
    fn a_renewal_extends_the_door_instead_of_adding_a_twin_and_never_shortens_it() {
        let mut ledger = Ledger::default();
        let first = open(
            &mut ledger,
            100,
            "alice",
            "192.0.2.7/32",
            30,
            &["tcp/22", "tcp/80"],
        );
        let longer = open(
            &mut ledger,
            110,
            "alice",
            "192.0.2.7/32",
            30,
            &["tcp/80", "tcp/22"],
        );
        assert_eq!((longer.id, longer.until), (first.id, at(140)));
        let shorter = open(
            &mut ledger,
            120,
            "alice",
            "192.0.2.7/32",
            5,
            &["tcp/22", "tcp/80"],
        );
        assert_eq!((shorter.id, shorter.until), (first.id, at(140)));
        assert_eq!(ledger.len(), 1);
        for (user, allow, services) in [
            ("bob", "192.0.2.7/32", "tcp/22"),
            ("alice", "192.0.2.8/32", "tcp/22"),
            ("alice", "192.0.2.7/32", "tcp/23"),
        ] {
            open(&mut ledger, 120, user, allow, 5, &[services]);
        }
        assert_eq!(ledger.len(), 4);
    }

    #[test]
    fn what_the_firewall_did_not_do_is_not_in_the_ledger() {
        let mut ledger = Ledger::default();
        let change = ledger
            .open(
                at(100),
                &request("alice", "192.0.2.7/32", 30),
                ports(&["tcp/22"]),
            )
            .unwrap();
        let extend = ledger
            .open(
                at(110),
                &request("alice", "192.0.2.7/32", 30),
                ports(&["tcp/22"]),
            )
            .unwrap();
        ledger.undo(at(110), &extend);
        assert_eq!(ledger.next_end(), Some(at(130)));
        ledger.undo(at(110), &change);
        assert!(ledger.is_empty() && ledger.next_end().is_none() && ledger.doors.is_empty());
    }

    #[test]
    fn a_close_that_failed_comes_due_again() {
        let mut ledger = Ledger::default();
        open(&mut ledger, 100, "alice", "192.0.2.7/32", 30, &["tcp/22"]);
        let due = ledger.due(at(130), 10);
        ledger.undo(at(130), &due[0]);
        assert_eq!(ledger.len(), 1);
        assert!(ledger.due(at(130), 10).is_empty());
        assert_eq!(ledger.due(at(131), 10), due);
        ledger.done(&due[0]);
        assert!(ledger.is_empty() && ledger.next_end().is_none());
    }

    #[test]
    fn a_user_closes_only_doors_of_his_own_for_that_address() {
        let mut ledger = Ledger::default();
        for (user, allow, services) in [
            ("alice", "192.0.2.7/32", "tcp/22"),
            ("alice", "192.0.2.7/32", "tcp/80"),
            ("alice", "192.0.2.8/32", "tcp/22"),
            ("bob", "192.0.2.7/32", "tcp/22"),
        ] {
            open(&mut ledger, 100, user, allow, 30, &[services]);
        }
        let close = |services: &[&str]| {
            let wanted = services.iter().map(|one| one.parse().unwrap()).collect();
            let request = CloseRequest {
                user: "alice".to_owned(),
                allow: "192.0.2.7/32".parse().unwrap(),
                target: None,
                services: wanted,
            };
            ledger.close(&request, &ports(services)).len()
        };
        assert_eq!(
            (
                close(&[]),
                close(&["tcp/22"]),
                close(&["tcp/23"]),
                close(&["tcp/1-1000"])
            ),
            (2, 1, 0, 2)
        );
    }

    #[test]
    fn a_forward_is_a_door_of_its_own_and_closes_by_its_own_name_only() {
        let mut ledger = Ledger::default();
        let forward = |port| {
            crate::model::catalog::Forward::new(
                "tcp/2222".parse().unwrap(),
                "10.0.0.5".parse().unwrap(),
                Some(port),
                false,
            )
            .unwrap()
        };
        let leading = |port| OpenPorts {
            services: Vec::new(),
            forwards: vec![forward(port)],
        };
        for opening in [leading(22), leading(23), ports(&["tcp/2222"])] {
            ledger
                .open(at(100), &request("alice", "192.0.2.7/32", 30), opening)
                .unwrap();
        }
        assert_eq!(ledger.len(), 3);
        let again = ledger
            .open(at(110), &request("alice", "192.0.2.7/32", 30), leading(22))
            .unwrap();
        assert!(matches!(again, Change::Extend { .. }) && ledger.len() == 3);
        let request = |services: &[&str]| CloseRequest {
            user: "alice".to_owned(),
            allow: "192.0.2.7/32".parse().unwrap(),
            target: None,
            services: services.iter().map(|one| one.parse().unwrap()).collect(),
        };
        assert_eq!(ledger.close(&request(&["inner"]), &leading(22)).len(), 1);
        assert_eq!(
            ledger
                .close(&request(&["tcp/2222"]), &ports(&["tcp/2222"]))
                .len(),
            1
        );
        assert_eq!(ledger.close(&request(&[]), &OpenPorts::default()).len(), 3);
    }

    #[test]
    fn a_full_ledger_refuses_a_new_door_but_still_extends_an_old_one() {
        let grant = |n: u32| Grant {
            id: GrantId(u64::from(n) + 1),
            user: "alice".to_owned(),
            allow: ipnet::IpNet::from(std::net::IpAddr::from(std::net::Ipv4Addr::from(n))),
            target: None,
            services: vec!["tcp/22".parse().unwrap()],
            forwards: Vec::new(),
            until: at(1000),
        };
        let mut ledger = Ledger::new(0, (0..u32::try_from(PORTS_MAX).unwrap()).map(grant));
        assert_eq!(
            ledger.open(
                at(1),
                &request("bob", "192.0.2.7/32", 1),
                ports(&["tcp/22"])
            ),
            Err(Full)
        );
        assert!(matches!(
            ledger.open(
                at(1),
                &request("alice", "0.0.0.9/32", 1),
                ports(&["tcp/22"])
            ),
            Ok(Change::Extend { .. })
        ));
    }

    #[test]
    fn what_fills_a_ledger_is_ports_and_not_grants() {
        let many: Vec<String> = (1..=64).map(|port| format!("tcp/{}", port * 2)).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let mut ledger = Ledger::default();
        let address = |n: usize| format!("10.0.{}.{}/32", n / 256, n % 256);
        for n in 0..PORTS_MAX / many.len() {
            open(&mut ledger, 1, "alice", &address(n), 30, &many);
        }
        assert_eq!(
            ledger.open(
                at(1),
                &request("bob", "192.0.2.7/32", 30),
                ports(&["tcp/22"])
            ),
            Err(Full)
        );
        let due = ledger.due(at(31), 1);
        ledger.done(&due[0]);
        assert!(
            ledger
                .open(at(31), &request("bob", "192.0.2.7/32", 30), ports(&many))
                .is_ok(),
            "what ends makes room"
        );
        assert_eq!(
            ledger.open(
                at(31),
                &request("bob", "192.0.2.8/32", 30),
                ports(&["tcp/22"])
            ),
            Err(Full)
        );
    }
}
