//! A knock whose outer source address is a lie: the address inside is what counts, or the policy refuses it.

use std::net::IpAddr;

use etherparse::PacketBuilder;

use crate::world::netns::wire::Wire;
use crate::world::{Client, FAMILIES, Family, KNOCK, Plan, SERVICE, WIRE, World};

/// Nobody's address.
const LIE: u8 = 99;

pub(crate) fn opens_for_the_claimed_address_alone(backend: &'static str) {
    let world = World::start(&Plan::new(backend));
    let mut wire = Wire::from(&world.first.space, WIRE);
    for (count, family) in (1..).zip(FAMILIES) {
        let claimed = world.second.address(family);
        let packet = world.first.packet("alice", family, &["--allow", &claimed.to_string()]);
        wire.send(&forged(&world.first, family, &packet));
        let grants = world.wait_for_grants(count);
        assert_eq!(grants[count - 1].allow, claimed.into(), "only the address inside");
        world.second.expect_let_in(family);
        world.first.expect_shut_out(family);
    }
}

pub(crate) fn is_refused_where_only_the_observed_address_counts(backend: &'static str) {
    let plan = Plan::empty(backend).user("alice", &format!("services = [\"tcp/{SERVICE}\"]\ngrant_to = \"observed\""));
    let world = World::start(&plan);
    let mut wire = Wire::from(&world.first.space, WIRE);
    for (count, family) in (1..).zip(FAMILIES) {
        let claimed = world.second.address(family);
        let packet = world.first.packet("alice", family, &["--allow", &claimed.to_string()]);
        wire.send(&forged(&world.first, family, &packet));
        let status = world.daemon.wait_for_count("refuse grant_to", count);
        assert_eq!(status.admitted, 0);
        world.second.expect_shut_out(family);
    }
    world.expect_nothing_open();
}

/// A frame from this client's end of its cable that claims to come from elsewhere.
fn forged(client: &Client, family: Family, payload: &[u8]) -> Vec<u8> {
    let frame = PacketBuilder::ethernet2(client.mac(2), client.mac(1));
    let packet = match (family.address(LIE), family.address(1)) {
        (IpAddr::V4(from), IpAddr::V4(to)) => frame.ipv4(from.octets(), to.octets(), 64),
        (IpAddr::V6(from), IpAddr::V6(to)) => frame.ipv6(from.octets(), to.octets(), 64),
        _ => unreachable!(),
    };
    let mut bytes = Vec::new();
    packet.udp(40000, KNOCK).write(&mut bytes, payload).unwrap();
    bytes
}
