//! A knock whose outer source address is a lie: the address inside is what counts, or the policy refuses it.

use std::net::IpAddr;

use etherparse::PacketBuilder;

use postern_harness::packets::RawLink;
use postern_harness::{
    Client, FAMILIES, Family, GateConfig, KNOCK, SERVICE, World, world::CLIENT_INTERFACE,
};

/// Nobody's address.
const LIE: u8 = 99;

pub(crate) fn opens_for_the_claimed_address_alone(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend));
    let mut wire = RawLink::open(&world.first.space, CLIENT_INTERFACE);
    for (count, family) in (1..).zip(FAMILIES) {
        let claimed = world.second.address(family);
        let packet = world
            .first
            .packet("alice", family, &["--allow", &claimed.to_string()]);
        wire.send(&forged(&world.first, family, &packet));
        let grants = world.wait_for_grants(count);
        assert_eq!(
            grants[count - 1].allow,
            claimed.into(),
            "only the address inside"
        );
        world.second.expect_let_in(family);
        world.first.expect_shut_out(family);
    }
}

pub(crate) fn is_refused_where_only_the_observed_address_counts(backend: &'static str) {
    let plan = GateConfig::empty(backend).user(
        "alice",
        &format!("services = [\"tcp/{SERVICE}\"]\ngrant_to = \"observed\""),
    );
    let world = World::start(&plan);
    let mut wire = RawLink::open(&world.first.space, CLIENT_INTERFACE);
    for (count, family) in (1..).zip(FAMILIES) {
        let claimed = world.second.address(family);
        let packet = world
            .first
            .packet("alice", family, &["--allow", &claimed.to_string()]);
        wire.send(&forged(&world.first, family, &packet));
        let status = world.daemon.wait_for_count("refuse grant_to", count);
        assert_eq!(status.admitted, 0);
        world.second.expect_shut_out(family);
    }
    world.expect_nothing_open();
}

/// The client forges by itself, with `--spoof-source`. Bob, for whom only the source counts, shows which one the gate saw.
pub(crate) fn client_forges_the_source_that_it_is_told(backend: &'static str) {
    let plan = GateConfig::new(backend).user(
        "bob",
        &format!("services = [\"tcp/{SERVICE}\"]\ngrant_to = \"observed\""),
    );
    let world = World::start(&plan);
    for (count, family) in (1..).zip(FAMILIES) {
        let (claimed, lie) = (
            world.second.address(family),
            family.address(LIE).to_string(),
        );
        let forged = ["--spoof-source", &lie, "--allow", &claimed.to_string()];
        world.first.knock("bob", family, &forged);
        world
            .daemon
            .wait_for_lines(1, &["refused: bob ", &format!("source={lie}")]);
        let said = world.first.knock("alice", family, &forged);
        assert!(
            said.contains(&format!("letting in {claimed} for")),
            "{said}"
        );
        let grants = world.wait_for_grants(count);
        assert_eq!(
            grants[count - 1].allow,
            claimed.into(),
            "only the address inside"
        );
        world.second.expect_let_in(family);
        world.first.expect_shut_out(family);
        // Without --allow it is the client's own address that is claimed.
        let own = world.first.address(family);
        let said = world
            .first
            .knock("alice", family, &["--spoof-source", &lie]);
        assert!(said.contains(&format!("letting in {own} for")), "{said}");
        world.first.expect_let_in(family);
        assert_eq!(
            world.first.postern("alice", &["close", family.name()]).code,
            Some(0)
        );
        world.wait_for_grants(count);
    }
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
