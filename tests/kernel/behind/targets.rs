//! A grant that names a host behind the gate opens that host and those ports, in one direction.

use postern::adapters::firewall::Change;
use postern::model::grant::Grant;

use crate::inputs::{grant, protection};

use postern_harness::{now, wait_until};

use super::world::{HOUR, SIDES, Side, World};

/// A grant to port 22 of the host behind the gate.
fn to_inner(side: Side) -> Grant {
    Grant {
        target: Some(side.inner.parse().unwrap()),
        services: vec!["tcp/22".parse().unwrap()],
        ..grant(1, side.client, &[], now().plus(HOUR))
    }
}

/// The same for a network and a range of ports.
fn range_to_inner(side: Side) -> Grant {
    Grant {
        allow: side.outside.parse().unwrap(),
        services: vec!["tcp/21-22".parse().unwrap()],
        ..to_inner(side)
    }
}

pub(crate) fn target_opens_one_host_and_port(kind: &'static str) {
    let world = World::new(kind);
    for (side, grant) in SIDES
        .into_iter()
        .flat_map(|side| [(side, to_inner(side)), (side, range_to_inner(side))])
    {
        // the other way is hidden too, so that only a rule that opens too much would let it through
        let behind = [(side.inside, "tcp/22-23"), (side.outside, "tcp/22")];
        let protection = protection(&["tcp/22"], &behind);
        world.install(&protection, &[]);
        assert!(world.is_hidden(&world.client, side.inner, 22));
        assert!(
            world.reaches(&world.client, side.inner, 80),
            "a port that nobody may open is left to the host's own rules"
        );
        world.apply(Change::Open(grant.clone()));
        let mut session = world
            .session(&world.client, side.inner, 22)
            .expect("open for its grant");
        assert_eq!(session.seen.to_string(), side.client);
        for (what, from, to, port) in [
            ("another port", &world.client, side.inner, 23),
            ("another host", &world.client, side.neighbour, 22),
            ("the gate", &world.client, side.gate[0], 22),
            ("another client", &world.stranger, side.inner, 22),
            ("the other direction", &world.inner, side.client, 22),
        ] {
            assert!(world.is_hidden(from, to, port), "{what}");
        }
        world.restart();
        assert_eq!(world.list(), std::slice::from_ref(&grant));
        world.install(&protection, std::slice::from_ref(&grant));
        world.apply(Change::Close(grant));
        assert!(world.is_hidden(&world.client, side.inner, 22), "closed");
        assert!(session.lives(), "what is established lives on");
        world.install(&protection, &[]);
        assert!(session.lives(), "also over another installation");
    }
}

/// The rule for the mark is that of the wrapper around the driver.
pub(crate) fn marked_packets_pass_a_drop_policy(kind: &'static str) {
    let world = World::new(kind);
    for side in SIDES {
        let program = if side.client.contains(':') {
            kind.replace("iptables", "ip6tables")
        } else {
            kind.to_owned()
        };
        let mut strange = world.session(&world.client, side.inner, 22).unwrap();
        world.gate.sh(&format!(
            "{program} -A FORWARD -m mark --mark 0x2400/0x3c00 -j ACCEPT; {program} -P FORWARD DROP"
        ));
        let mut protection = protection(&[], &[(side.inside, "tcp/22")]);
        // The host accepts no established packets itself.
        protection.marking.established_behind = true;
        world.install(&protection, &[]);
        assert!(!strange.lives(), "the host's own rules decide");
        world.apply(Change::Open(to_inner(side)));
        let mut session = world
            .session(&world.client, side.inner, 22)
            .expect("open for its grant, in both directions of the connection");
        world.apply(Change::Close(to_inner(side)));
        assert!(!session.lives(), "the host's own rules decide again");
        world.gate.sh(&format!("{program} -P FORWARD ACCEPT"));
        // The next retransmission may be seconds away.
        wait_until("the host's own rules to decide alone", || session.lives());
    }
}

pub(crate) fn target_opens_without_protection(kind: &'static str) {
    let world = World::new(kind);
    let [side, _] = SIDES;
    let mut protection = protection(&[], &[(side.inside, "tcp/22")]);
    protection.hide_behind = false;
    world.install(&protection, &[]);
    world.apply(Change::Open(to_inner(side)));
    assert!(
        world.reaches(&world.client, side.inner, 22)
            && world.reaches(&world.stranger, side.inner, 22)
    );
}
