//! A port of the gate that leads to another port of the gate, for the client of a grant.

use std::time::Duration;

use postern::adapters::firewall::Change;
use postern::model::catalog::Forward;
use postern::model::grant::Grant;
use postern::model::settings::Protection;

use postern_harness::now;
use postern_harness::wait::wait_at_most;

use crate::inputs::{grant, protection};

use super::world::{HOUR, PATIENCE, SIDES, Side, World};

fn redirect() -> Forward {
    Forward::redirect("tcp/2222".parse().unwrap(), "tcp/22".parse().unwrap()).unwrap()
}

/// Both ports are hidden.
fn hiding() -> Protection {
    Protection {
        forwards: vec![redirect()],
        ..protection(&["tcp/22", "tcp/2222"], &[])
    }
}

fn through(side: Side, length: Duration) -> Grant {
    Grant {
        forwards: vec![redirect()],
        ..grant(7, side.client, &[], now().plus(length))
    }
}

pub(crate) fn kernel_alone_ends_a_redirect(kind: &'static str) {
    let world = World::new(kind);
    world.gate.serve_sessions(22);
    for side in SIDES {
        world.install(&hiding(), &[]);
        world.apply(Change::Open(through(side, Duration::from_millis(2500))));
        let mut session = world
            .session(&world.client, side.gate[0], 2222)
            .expect("led to port 22");
        assert_eq!(session.seen.to_string(), side.client);
        wait_at_most(PATIENCE, "end by the kernel", || {
            let is_hidden = world.is_hidden(&world.client, side.gate[0], 2222);
            is_hidden.then_some(())
        });
        assert!(session.lives());
    }
}

/// Nothing is left open, and a restart reads the grant back.
pub(crate) fn removed_redirect_is_detected_and_restored(kind: &'static str) {
    let world = World::new(kind);
    world.gate.serve_sessions(22);
    for side in SIDES {
        let grant = through(side, HOUR);
        world.install(&hiding(), &[]);
        world.apply(Change::Open(grant.clone()));
        let v6 = side.client.contains(':');
        let spoilt: Vec<String> = match kind.strip_prefix("iptables-") {
            Some(variant) => {
                let run = format!("{}-{variant}", if v6 { "ip6tables" } else { "iptables" });
                let spoil = ["-t nat -F POSTERN-DNAT", "-F POSTERN-GRANTS"];
                spoil.map(|what| format!("{run} {what}")).into()
            }
            None => vec![
                format!("nft flush set inet postern local{}", if v6 { 6 } else { 4 }),
                "nft flush chain inet postern prerouting".to_owned(),
            ],
        };
        for line in spoilt {
            assert!(world.is_whole());
            world.gate.sh(&line);
            assert!(!world.is_whole(), "{line}");
            world.install(&hiding(), std::slice::from_ref(&grant));
            assert!(world.reaches(&world.client, side.gate[0], 2222), "{line}");
        }
        world.restart();
        assert_eq!(world.list(), std::slice::from_ref(&grant), "read back");
        world.install(&hiding(), std::slice::from_ref(&grant));
        world.apply(Change::Close(grant));
        for port in [22, 2222] {
            assert!(world.is_hidden(&world.client, side.gate[0], port), "{port}");
        }
    }
}
