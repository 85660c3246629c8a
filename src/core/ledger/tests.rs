//! Grants under virtual time: due, renewed, closed and limited.

use super::*;
use crate::core::fixture;
use crate::model::catalog::Forward;
use crate::model::service;

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
        self.open_most(now, request, ports, PORTS_MAX)
    }

    fn open_most(
        &mut self,
        now: Timestamp,
        request: &OpenRequest,
        ports: OpenPorts,
        most: usize,
    ) -> Result<Change, Full> {
        match self.open(now, request, ports, most, true)? {
            Opening::Change(change) => Ok(change),
            Opening::Repeat(grant) => panic!("{grant} is settled"),
        }
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
        ledger.open_most(at(now), &request(user, HOME, 30), ports(services), 2)
    };
    for (now, services) in [(1, &["tcp/22"][..]), (1, &["tcp/80"]), (2, &["tcp/22"])] {
        assert!(open(now, "alice", services).is_ok(), "a renewal, too");
    }
    assert_eq!(open(2, "alice", &["tcp/443"]), Err(Full::User(2)));
    assert!(open(2, "bob", &["tcp/443"]).is_ok());
    let due = ledger.due(at(31), 1);
    ledger.done(&due[0]);
    let third = request("alice", HOME, 30);
    let opened = ledger.open_most(at(31), &third, ports(&["tcp/443"]), 2);
    assert!(opened.is_ok());
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
