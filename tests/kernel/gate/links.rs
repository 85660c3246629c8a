//! Interfaces that are no Ethernet or come late. `tests/kernel/capture` has those that go and come back.

use std::net::SocketAddr;

use etherparse::PacketBuilder;
use rustix::process::Signal;

use postern_harness::packets::Tun;
use postern_harness::{FAMILIES, Family, GateConfig, KNOCK, World};

pub(crate) fn knock_from_a_tunnel_opens(backend: &'static str) {
    for interfaces in ["interfaces = [\"any\"]", "interfaces = [\"tun0\"]"] {
        let world = World::start(&GateConfig::new(backend).gate(interfaces));
        let mut tun = Tun::new(&world.gate);
        if interfaces.contains("tun0") {
            world
                .daemon
                .wait_for_lines(1, &["listening on tun0", "INFO"]);
        }
        for family in FAMILIES {
            let claimed = world.first.address(family).to_string();
            let knock = world.first.packet("alice", family, &["--allow", &claimed]);
            world.first.expect_shut_out(family);
            tun.receives(&out_of_the_tunnel(family, &knock));
            world.first.expect_let_in(family);
        }
        assert_eq!(world.daemon.status().admitted, 2, "{interfaces}");
    }
}

fn out_of_the_tunnel(family: Family, payload: &[u8]) -> Vec<u8> {
    let packet = match family {
        Family::V4 => PacketBuilder::ipv4([10, 88, 0, 2], [10, 88, 0, 1], 64),
        Family::V6 => PacketBuilder::ipv6([0xfd; 16], [0xfc; 16], 64),
    };
    let mut bytes = Vec::new();
    packet.udp(40000, KNOCK).write(&mut bytes, payload).unwrap();
    bytes
}

/// The config names an altname, longer than the kernel lets a name be.
pub(crate) fn altname_is_captured(backend: &'static str) {
    const NAME: &str = "uplink-of-the-gate-1";
    let world = World::start(&GateConfig::new(backend).gate(&format!("interfaces = [\"{NAME}\"]")));
    let missing = format!("listening on {NAME} is not possible now");
    world.daemon.wait_for_lines(1, &[&missing]);
    let finding = format!("interface {NAME} does not exist");
    assert!(world.at_gate(&["check"]).contains(&finding));
    let end = world.first.gate_end();
    let add = format!("link property add dev {end} altname {NAME}");
    world.gate.ip(&add);
    let back = format!("listening on {NAME}");
    world.daemon.wait_for_lines(1, &[&back, "INFO"]);
    assert!(!world.at_gate(&["check"]).contains(NAME));
    world.first.open("alice", Family::V4, &[]);
    world.gate.ip(&add.replace("add", "del"));
    // Nothing has the name now, but the interface is the same.
    world.daemon.wait_for_lines(1, &["WARN", NAME, &end]);
    world.first.open("alice", Family::V6, &[]);
}

/// A renamed interface is captured until a new one has the name of the config.
pub(crate) fn renamed_interface_is_still_captured(backend: &'static str) {
    let names = "interfaces = [\"late0\"]";
    let world = World::prepare(&GateConfig::new(backend).gate(names));
    let (end, mut world) = (world.first.gate_end(), world);
    world.gate.ip(&format!("link set {end} name late0"));
    world.start_again();
    world.gate.ip("link set late0 name other0");
    let renamed = ["WARN", "interface late0 is called other0 now"];
    world.daemon.wait_for_lines(1, &renamed);
    world.daemon.signal(Signal::HUP);
    world.daemon.wait_for_lines(2, &["the engine serves"]);
    world.first.open("alice", Family::V4, &[]);
    let (here, there) = (["10.78.0.1/24"], ["10.78.0.2/24"]);
    let space = &world.second.space;
    world.gate.link(space, "late0", &here, &there);
    world
        .daemon
        .wait_for_lines(1, &["listening on late0", "INFO"]);
    let claimed = ["--allow", "10.77.0.3"];
    let knock = world.second.packet("alice", Family::V4, &claimed);
    let gate = SocketAddr::new([10, 78, 0, 1].into(), KNOCK);
    world.second.send_to(gate, &knock);
    world.second.expect_let_in(Family::V4);
}

/// Only `late0` is listened to, and it is not there yet; packets on the other link are ignored.
pub(crate) fn late_interface_is_captured(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend).gate("interfaces = [\"late0\"]"));
    world
        .daemon
        .wait_for_lines(1, &["listening on late0 is not possible now"]);
    let knock = |family: Family| {
        world.first.packet(
            "alice",
            family,
            &["--allow", &world.first.address(family).to_string()],
        )
    };
    for round in 1..=2 {
        let ends = [
            ["10.78.0.1/24", "fd78::1/64"],
            ["10.78.0.2/24", "fd78::2/64"],
        ];
        let space = &world.first.space;
        world.gate.link(space, "late0", &ends[0], &ends[1]);
        let said = ["listening on late0", "INFO"];
        world.daemon.wait_for_lines(round, &said);
        for (family, gate) in FAMILIES.into_iter().zip(["10.78.0.1", "fd78::1"]) {
            world.first.send(family, &knock(family));
            world.first.expect_shut_out(family);
            world.first.send_to(
                SocketAddr::new(gate.parse().unwrap(), KNOCK),
                &knock(family),
            );
            world.first.expect_let_in(family);
        }
        let status = world.daemon.status();
        assert_eq!(
            (status.admitted, status.reasons.len()),
            (2 * u64::try_from(round).unwrap(), 0),
            "{status:?}"
        );
        world.daemon.asked(&["close", "--all"]);
        world.gate.ip("link del late0");
        world
            .daemon
            .wait_for_lines(round + 1, &["listening on late0 is not possible now"]);
    }
}
