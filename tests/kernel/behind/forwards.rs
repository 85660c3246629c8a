//! A port of the gate that leads to a host behind it, for the client of a grant.

use std::net::SocketAddr;
use std::time::Duration;

use postern::adapters::firewall::Change;
use postern::model::catalog::Forward;
use postern::model::grant::Grant;
use postern::model::settings::Protection;

use postern_harness::now;
use postern_harness::wait::wait_at_most;

use crate::inputs::{grant, protection};

use super::world::{HOUR, PATIENCE, SIDES, Side, World, forward};

/// The gate with its port 2222 and the host's port 22 hidden.
fn hiding(side: Side, forwards: &[Forward]) -> Protection {
    let inner = format!(
        "{}/{}",
        side.inner,
        if side.inner.contains(':') { 128 } else { 32 }
    );
    // the way from the host to its clients is hidden too, so that only a rule that opens too much would let it through
    Protection {
        forwards: forwards.to_vec(),
        ..protection(
            &["tcp/2222"],
            &[(&inner, "tcp/22-23"), (side.outside, "tcp/22")],
        )
    }
}

fn through(side: Side, forwards: &[Forward], length: Duration) -> Grant {
    Grant {
        forwards: forwards.to_vec(),
        ..grant(7, side.client, &[], now().plus(length))
    }
}

pub(crate) fn forward_serves_its_client_only(kind: &'static str) {
    let world = World::new(kind);
    for side in SIDES {
        for masquerade in [false, true] {
            let forwards = [forward("tcp/2222", side.inner, Some(22), masquerade)];
            let grant = through(side, &forwards, HOUR);
            world.install(&hiding(side, &forwards), &[]);
            let is_hidden = || world.is_hidden(&world.client, side.gate[0], 2222);
            assert!(is_hidden(), "no refusal gives the port away");
            world.apply(Change::Open(grant.clone()));
            let mut session = world
                .session(&world.client, side.gate[0], 2222)
                .expect("led to the host");
            let seen = if masquerade {
                side.gate_inside
            } else {
                side.client
            };
            assert_eq!(session.seen.to_string(), seen);
            for (what, from, to, port) in [
                ("another client", &world.stranger, side.gate[1], 2222),
                ("the host itself", &world.client, side.inner, 22),
                ("another port of the host", &world.client, side.inner, 23),
                ("the other direction", &world.inner, side.client, 22),
            ] {
                assert!(world.is_hidden(from, to, port), "{what}");
            }
            assert_eq!(world.list(), std::slice::from_ref(&grant));
            world.restart();
            assert_eq!(world.list(), std::slice::from_ref(&grant), "read back");
            world.install(&hiding(side, &forwards), std::slice::from_ref(&grant));
            assert!(session.lives(), "over another installation");
            let longer = Grant {
                until: grant.until.plus(HOUR),
                ..grant.clone()
            };
            world.apply(Change::Extend {
                old: grant,
                new: longer.clone(),
            });
            assert!(world.reaches(&world.client, side.gate[0], 2222), "extended");
            world.apply(Change::Close(longer));
            assert!(is_hidden(), "closed for new connections");
            assert!(session.lives(), "what is established lives on");
            assert_eq!(world.list(), []);
        }
    }
}

pub(crate) fn kernel_alone_ends_a_forward(kind: &'static str) {
    let world = World::new(kind);
    for side in SIDES {
        let forwards = [forward("tcp/2222", side.inner, Some(22), true)];
        world.install(&hiding(side, &forwards), &[]);
        let grant = through(side, &forwards, Duration::from_millis(2500));
        world.apply(Change::Open(grant));
        let mut session = world
            .session(&world.client, side.gate[0], 2222)
            .expect("led to the host");
        wait_at_most(PATIENCE, "end by the kernel", || {
            world
                .is_hidden(&world.client, side.gate[0], 2222)
                .then_some(())
        });
        assert!(session.lives());
    }
}

pub(crate) fn overlapping_forwards_reach_their_hosts(kind: &'static str) {
    let world = World::new(kind);
    for side in SIDES {
        let forwards = [
            forward("tcp/20-23", side.inner, None, true),
            forward("tcp/2222", side.neighbour, Some(22), false),
        ];
        let mut protection = hiding(side, &forwards);
        protection.services.push("tcp/20-23".parse().unwrap());
        world.install(&protection, &[]);
        let wide = Grant {
            allow: side.outside.parse().unwrap(),
            ..through(side, &forwards, HOUR)
        };
        let exact = Grant {
            id: postern::model::grant::GrantId(8),
            user: "bob".to_owned(),
            ..through(side, &forwards, HOUR)
        };
        world.apply(Change::Open(wide.clone()));
        world.apply(Change::Open(exact.clone()));
        let listed = world.list();
        assert!(
            listed.len() == 2 && listed.contains(&wide) && listed.contains(&exact),
            "{listed:?}"
        );
        let open = || {
            [22, 23, 2222].map(|port| {
                world
                    .session(&world.client, side.gate[0], port)
                    .map(|session| session.seen.to_string())
            })
        };
        let expected =
            [side.gate_inside, side.gate_inside, side.client].map(|seen| Some(seen.to_owned()));
        assert_eq!(open(), expected);
        assert!(world.is_hidden(&world.stranger, side.gate[1], 22));
        world.apply(Change::Close(exact));
        assert_eq!(open(), expected, "the other one is still open");
        world.apply(Change::Close(wide));
        assert_eq!(open(), [None, None, None]);
    }
}

pub(crate) fn passing_connections_are_not_forwarded(kind: &'static str) {
    let world = World::new(kind);
    for side in SIDES {
        let forwards = [forward("tcp/80", side.inner, Some(22), false)];
        world.install(
            &Protection {
                forwards: forwards.to_vec(),
                ..protection(&["tcp/80"], &[])
            },
            &[through(side, &forwards, HOUR)],
        );
        for (host, reached, port) in [
            (side.gate[0], side.inner, 22),
            (side.neighbour, side.neighbour, 80),
        ] {
            let session = world.session(&world.client, host, 80).unwrap();
            let expected = SocketAddr::new(reached.parse().unwrap(), port);
            assert_eq!(session.reached, expected);
        }
    }
}

pub(crate) fn removal_restores_every_table(kind: &'static str) {
    let world = World::new(kind);
    let variant = kind.strip_prefix("iptables-").unwrap_or("nft");
    for family in ["iptables", "ip6tables"] {
        let run = format!("{family}-{variant}");
        world.gate.sh(&format!(
                "{run} -A INPUT -p tcp --dport 25 -j DROP; {run} -A FORWARD -p tcp --dport 25 -j DROP; {run} -t nat -A POSTROUTING -p tcp --dport 25 -j MASQUERADE"
            ),
        );
        world.gate.sh(&format!(
            "{run} -t nat -A PREROUTING -p tcp --dport 25 -j REDIRECT --to-ports 26"
        ));
    }
    let before = world.rules();
    for side in SIDES {
        let forwards = [forward("tcp/2222", side.inner, Some(22), true)];
        world.install(&hiding(side, &forwards), &[through(side, &forwards, HOUR)]);
        let first = world.rules();
        world.install(&hiding(side, &forwards), &[through(side, &forwards, HOUR)]);
        assert_eq!(
            first.lines().count(),
            world.rules().lines().count(),
            "installing twice is like once"
        );
        world.install(&protection(&[], &[]), &[]);
        assert!(!world.rules().contains("masquerade4") || kind == "nftables");
        world.install(&hiding(side, &forwards), &[through(side, &forwards, HOUR)]);
        world.restart();
        world.drive(|driver| driver.remove()).unwrap();
        assert_eq!(world.rules(), before);
    }
}

pub(crate) fn impossible_forward_leaves_nothing_half_open(kind: &'static str) {
    let world = World::new(kind);
    let [side, _] = SIDES;
    let forwards = [forward("tcp/2222", side.inner, Some(22), false)];
    world.install(&protection(&["tcp/2222"], &[(side.inside, "tcp/22")]), &[]);
    let before = world.rules();
    let change = Change::Open(through(side, &forwards, HOUR));
    let results = world.drive(move |driver| driver.apply(&[change]));
    let error = results[0].clone().unwrap_err().to_string();
    assert!(
        error.contains("no user has a service that forwards; reload the config"),
        "{error}"
    );
    assert_eq!(world.rules(), before);
}

pub(crate) fn removed_rules_are_detected_and_restored(kind: &'static str) {
    let world = World::new(kind);
    for side in SIDES {
        let forwards = [forward("tcp/2222", side.inner, Some(22), true)];
        let (protection, grant) = (hiding(side, &forwards), through(side, &forwards, HOUR));
        world.install(&protection, &[]);
        world.apply(Change::Open(grant.clone()));
        let v6 = side.client.contains(':');
        let spoilt: Vec<String> = match kind.strip_prefix("iptables-") {
            Some(variant) => {
                let run = format!("{}-{variant}", if v6 { "ip6tables" } else { "iptables" });
                [
                    "-t nat -F POSTERN-DNAT",
                    "-t nat -F POSTERN-SNAT",
                    "-t nat -D PREROUTING -j POSTERN-DNAT",
                    "-F POSTERN-FWD",
                    "-F POSTERN-FWD-GRANTS",
                ]
                .map(|what| format!("{run} {what}"))
                .into()
            }
            None => [
                "flush map inet postern nat",
                "flush set inet postern masquerade",
                "flush set inet postern through",
            ]
            .map(|what| format!("nft {what}{}", if v6 { 6 } else { 4 }))
            .into_iter()
            .chain([
                "nft flush chain inet postern prerouting".to_owned(),
                "nft flush chain inet postern hidden_behind".to_owned(),
            ])
            .collect(),
        };
        for line in spoilt {
            assert!(world.is_whole());
            world.gate.sh(&line);
            assert!(!world.is_whole(), "{line}");
            world.install(&protection, std::slice::from_ref(&grant));
            assert!(world.reaches(&world.client, side.gate[0], 2222), "{line}");
        }
    }
}
