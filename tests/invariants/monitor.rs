//! Invariants 4, 5 and 10: the monitor, whatever the engine and the firewall do.

use std::net::IpAddr;
use std::time::Duration;

use postern::adapters::firewall::memory::MemoryDriver;
use postern::core::clearance::Clearance;
use postern::core::order::{Order, Report};
use postern::daemon::monitor::executor::Executor;
use postern::model::policy::{GrantTo, MaxPrefix, Policy};
use postern::model::reason::Rule;
use postern::model::request::{AddressFrom, CloseRequest, OpenRequest};

use crate::{NOW, config};

fn executor(firewall: &MemoryDriver) -> Executor {
    Executor::open(&config().settings, Box::new(firewall.clone()), None, NOW).unwrap()
}

fn request() -> OpenRequest {
    OpenRequest {
        user: "alice".to_owned(),
        allow: "192.0.2.7/32".parse().unwrap(),
        from: AddressFrom::Claimed,
        target: None,
        services: vec!["tcp/22".parse().unwrap()],
        duration: Duration::from_secs(30),
    }
}

#[test]
fn invariant_4_every_grant_ends_though_the_engine_is_dead() {
    let firewall = MemoryDriver::default();
    let mut executor = executor(&firewall);
    for n in 0..100 {
        let allow = ipnet::IpNet::from(IpAddr::from([192, 0, 2, n]));
        let request = OpenRequest {
            allow,
            duration: Duration::from_secs(1 + u64::from(n)),
            ..request()
        };
        assert!(matches!(
            executor.serve(NOW, vec![Order::Open { ticket: 1, request }])[..],
            [Report::Opened { .. }]
        ));
    }
    // No order comes any more.
    while let Some(end) = executor.next_end() {
        executor.serve(end, Vec::new());
        assert!(firewall.with(|state| state.open.iter().all(|grant| grant.until > end)));
    }
    assert!(firewall.with(|state| state.open.is_empty()));
    assert_eq!(executor.grants().count(), 0);
}

#[test]
fn invariant_4_no_terms_can_have_a_grant_without_an_end() {
    let firewall = MemoryDriver::default();
    let mut executor = executor(&firewall);
    for duration in [
        Duration::ZERO,
        Duration::from_nanos(999_999),
        Duration::from_secs(3601),
        Duration::MAX,
    ] {
        let reports = executor.serve(
            NOW,
            vec![Order::Open {
                ticket: 1,
                request: OpenRequest {
                    duration,
                    ..request()
                },
            }],
        );
        assert!(
            matches!(
                reports[..],
                [Report::Refused {
                    rule: Rule::Duration,
                    ..
                }]
            ),
            "{duration:?}"
        );
    }
    assert!(firewall.with(|state| state.open.is_empty()));
}

#[test]
fn invariant_5_an_engine_that_lies_can_open_nothing_that_the_policy_does_not_allow() {
    let mut settings = config().settings;
    settings.policies[0] = Policy {
        networks: vec!["192.0.2.0/24".parse().unwrap()],
        targets: vec!["10.0.0.0/24".parse().unwrap(), "fd00::/64".parse().unwrap()],
        max_prefix: MaxPrefix { v4: 30, v6: 128 },
        grant_to: GrantTo::Claimed,
        ..settings.policies[0].clone()
    };
    let clearance = Clearance::new(&settings);
    assert!(clearance.open(&request()).is_ok());
    let target = |text: &str| Some(text.parse().unwrap());
    for (lie, rule) in [
        (
            OpenRequest {
                user: "root".to_owned(),
                ..request()
            },
            Rule::User,
        ),
        (
            OpenRequest {
                services: vec!["tcp/23".parse().unwrap()],
                ..request()
            },
            Rule::Service,
        ),
        (
            OpenRequest {
                services: Vec::new(),
                ..request()
            },
            Rule::Service,
        ),
        (
            OpenRequest {
                services: vec!["web".parse().unwrap()],
                ..request()
            },
            Rule::UnknownService,
        ),
        (
            OpenRequest {
                allow: "198.51.100.1/32".parse().unwrap(),
                ..request()
            },
            Rule::Networks,
        ),
        (
            OpenRequest {
                allow: "192.0.2.0/29".parse().unwrap(),
                ..request()
            },
            Rule::Prefix,
        ),
        (
            OpenRequest {
                allow: "0.0.0.0/0".parse().unwrap(),
                ..request()
            },
            Rule::Prefix,
        ),
        (
            OpenRequest {
                target: target("10.0.1.1"),
                ..request()
            },
            Rule::Target,
        ),
        (
            OpenRequest {
                target: target("fd00::1"),
                ..request()
            },
            Rule::Family,
        ),
        (
            OpenRequest {
                from: AddressFrom::Observed,
                ..request()
            },
            Rule::GrantTo,
        ),
        (
            OpenRequest {
                duration: Duration::from_secs(3601),
                ..request()
            },
            Rule::Duration,
        ),
    ] {
        assert_eq!(clearance.open(&lie), Err(rule), "{lie}");
    }
}

/// A network that is written with host bits is another way to write a wide one; whoever is refused narrow is refused so, too.
#[test]
fn invariant_5_terms_that_no_gate_would_write_open_no_more_than_they_say() {
    let firewall = MemoryDriver::default();
    let mut executor = executor(&firewall);
    let odd = OpenRequest {
        allow: "192.0.2.7/24".parse().unwrap(),
        ..request()
    };
    let reports = executor.serve(
        NOW,
        vec![Order::Open {
            ticket: 1,
            request: odd,
        }],
    );
    assert!(matches!(
        reports[..],
        [Report::Refused {
            rule: Rule::Prefix,
            ..
        }]
    ));
    let strange = CloseRequest {
        user: "root".to_owned(),
        allow: "0.0.0.0/0".parse().unwrap(),
        target: None,
        services: Vec::new(),
    };
    let reports = executor.serve(
        NOW,
        vec![Order::Close {
            ticket: 2,
            request: strange,
        }],
    );
    assert!(matches!(
        reports[..],
        [Report::Refused {
            rule: Rule::User,
            ..
        }]
    ));
    assert!(firewall.with(|state| state.open.is_empty()));
}

#[test]
fn invariant_10_what_the_firewall_did_not_do_is_reported_as_not_done() {
    let firewall = MemoryDriver::default();
    let mut executor = executor(&firewall);
    executor.serve(
        NOW,
        vec![Order::Open {
            ticket: 1,
            request: request(),
        }],
    );
    firewall.with(|state| state.failing = Some("exit status 4".to_owned()));
    let another = OpenRequest {
        allow: "192.0.2.8/32".parse().unwrap(),
        ..request()
    };
    let request = CloseRequest {
        user: "alice".to_owned(),
        allow: request().allow,
        target: None,
        services: Vec::new(),
    };
    let reports = executor.serve(
        NOW,
        vec![
            Order::Open {
                ticket: 2,
                request: another,
            },
            Order::Close { ticket: 3, request },
        ],
    );
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
        "what was open is still known as open"
    );
}
