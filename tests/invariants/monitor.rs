//! Invariants 4 and 10: the monitor with a faulty engine or firewall.

use std::net::IpAddr;
use std::time::Duration;

use postern::adapters::firewall::memory::MemoryDriver;
use postern::core::order::{Order, Report};
use postern::daemon::monitor::executor::Executor;
use postern::model::reason::Rule;
use postern::model::request::{AddressFrom, CloseRequest, OpenRequest};

use crate::{NOW, config};

fn executor(firewall: &MemoryDriver) -> Executor {
    Executor::open(&config().settings, Box::new(firewall.clone()), None, NOW).unwrap()
}

fn open(ticket: u64, change: impl FnOnce(&mut OpenRequest)) -> Order {
    let mut request = OpenRequest {
        user: "alice".to_owned(),
        allow: "192.0.2.7/32".parse().unwrap(),
        from: AddressFrom::Claimed,
        target: None,
        services: vec!["tcp/22".parse().unwrap()],
        duration: Duration::from_secs(30),
    };
    change(&mut request);
    Order::Open { ticket, request }
}

#[test]
fn invariant_4_grants_end_without_an_engine() {
    let firewall = MemoryDriver::default();
    let mut executor = executor(&firewall);
    for n in 0..64 {
        let allow = ipnet::IpNet::from(IpAddr::from([192, 0, 2, n]));
        let duration = Duration::from_secs(1 + u64::from(n));
        let order = open(1, |request| {
            (request.allow, request.duration) = (allow, duration)
        });
        let reports = executor.serve(NOW, vec![order]);
        assert!(matches!(reports[..], [Report::Opened { .. }]));
    }
    // No more orders come.
    while let Some(end) = executor.next_end() {
        executor.serve(end, Vec::new());
        assert!(firewall.with(|state| state.open.iter().all(|grant| grant.until > end)));
    }
    assert!(firewall.with(|state| state.open.is_empty()));
    assert_eq!(executor.grants().count(), 0);
}

#[test]
fn invariant_4_no_request_opens_without_an_end() {
    let firewall = MemoryDriver::default();
    let mut executor = executor(&firewall);
    for duration in [
        Duration::ZERO,
        Duration::from_nanos(999_999),
        Duration::from_secs(3601),
        Duration::MAX,
    ] {
        let order = open(1, |request| request.duration = duration);
        let reports = executor.serve(NOW, vec![order]);
        let [Report::Refused { rule, .. }] = &reports[..] else {
            panic!("{reports:?}")
        };
        assert_eq!(*rule, Rule::Duration, "{duration:?}");
    }
    assert!(firewall.with(|state| state.open.is_empty()));
}

#[test]
fn invariant_10_a_failed_change_is_reported_as_failed() {
    let firewall = MemoryDriver::default();
    let mut executor = executor(&firewall);
    executor.serve(NOW, vec![open(1, |_| {})]);
    firewall.with(|state| state.failing = Some("exit status 4".to_owned()));
    let another = open(2, |request| request.allow = "192.0.2.8/32".parse().unwrap());
    let request = CloseRequest {
        user: "alice".to_owned(),
        allow: "192.0.2.7/32".parse().unwrap(),
        target: None,
        services: Vec::new(),
    };
    let reports = executor.serve(NOW, vec![another, Order::Close { ticket: 3, request }]);
    let [
        Report::Refused {
            ticket: 2,
            rule: Rule::Firewall,
            why,
        },
        Report::Closed {
            ticket: 3,
            count: 0,
        },
    ] = &reports[..]
    else {
        panic!("{reports:?}")
    };
    assert!(why.contains("exit status 4"));
    assert_eq!(
        executor.grants().count(),
        1,
        "the open grant is still in the ledger"
    );
}
