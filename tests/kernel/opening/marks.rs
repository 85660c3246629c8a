//! The rule in the host's chain lets nobody in without Postern's table, whatever other tools write into the packet mark.

use std::net::SocketAddr;
use std::time::Duration;

use libtest_mimic::Trial;
use postern::model::packet_mark::PacketMark;
use postern_harness::Requirement::Program;
use postern_harness::{FAMILIES, Family, GateConfig, Machine, SERVICE, World};
use socket2::{Domain, Socket, Type};

use super::hosts::NFT_BASICS;

/// Each bit alone, all of them, and Postern's own value, which shows that the rule is there.
const MARKS: usize = 34;
/// Source ports of connections whose packets get a mark, and of those whose mark is restored from connection tracking.
const PORTS: [u16; 2] = [40_000, 41_000];

pub(super) fn tests(machine: &Machine) -> Vec<Trial> {
    let machine = machine.module("marks");
    let needs = ["ip", "nft", "iptables-nft", "iptables-legacy"].map(Program);
    let nft = format!(
        "nft 'table inet filter {{ chain input {{ type filter hook input priority filter; policy drop; {NFT_BASICS} }}; }}'"
    );
    let iptables = "for v in iptables-VARIANT ip6tables-VARIANT; do $v -P INPUT DROP; $v -A INPUT -p ipv6-icmp -j ACCEPT; \
        $v -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT; done";
    let hosts = [
        ("nft", "auto", nft),
        ("iptables_nft", "auto", iptables.replace("VARIANT", "nft")),
        (
            "iptables_legacy",
            "auto",
            iptables.replace("VARIANT", "legacy"),
        ),
        (
            "iptables_driver",
            "iptables",
            iptables.replace("-VARIANT", ""),
        ),
    ];
    let trials = hosts.into_iter().map(|(name, backend, host)| {
        let name = format!("foreign_marks_open_nothing::{name}");
        machine.trial(name, &needs, move || {
            foreign_marks_open_nothing(backend, &host)
        })
    });
    trials.collect()
}

fn foreign_marks_open_nothing(backend: &str, host: &str) {
    let mut world = World::prepare(&GateConfig::new(backend));
    let (table, value) = match backend {
        "iptables" => ("postern_live", PacketMark::DEFAULT.in_set().value),
        _ => ("postern", PacketMark::DEFAULT.value),
    };
    world.gate.sh(host);
    world.start_again();
    let bits = (0..32).map(|bit| 1_u32 << bit);
    let marks: Vec<u32> = bits.chain([u32::MAX, value]).collect();
    assert_eq!(marks.len(), MARKS);
    let map = |first: u16| {
        let pairs = (first..).zip(&marks);
        let pairs: Vec<String> = pairs
            .map(|(port, mark)| format!("{port} : {mark}"))
            .collect();
        format!("tcp sport map {{ {} }}", pairs.join(", "))
    };
    let [marked, restored] = PORTS.map(map);
    world.gate.sh(&format!(
        "nft 'table inet marker {{ chain c {{ type filter hook prerouting priority mangle; \
         ct mark set {restored}; meta mark set ct mark; meta mark set {marked}; }}; }}'"
    ));
    for family in FAMILIES {
        assert_eq!(let_in(&world, family), [0; 0], "Postern clears its bits");
    }
    world.daemon.stop();
    world.gate.sh(&format!("nft delete table inet {table}"));
    for family in FAMILIES {
        let own = PORTS.map(|first| first + u16::try_from(MARKS).unwrap() - 1);
        assert_eq!(let_in(&world, family), own, "its value alone");
    }
}

/// The source ports from which a connection of the second client is accepted.
fn let_in(world: &World, family: Family) -> Vec<u16> {
    let gate = SocketAddr::new(family.address(1), SERVICE);
    let own = world.second.address(family);
    world.second.space.run(move || {
        let ports = PORTS.into_iter().flat_map(|first| (first..).take(MARKS));
        let attempts = ports.map(|port| {
            let socket = Socket::new(Domain::for_address(gate), Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket.bind(&SocketAddr::new(own, port).into()).unwrap();
            let _ = socket.connect(&gate.into());
            (port, socket)
        });
        let attempts: Vec<(u16, Socket)> = attempts.collect();
        // As long as a test waits for a packet that is dropped.
        std::thread::sleep(Duration::from_millis(300));
        let is_open = |(port, socket): &(u16, Socket)| socket.peer_addr().ok().map(|_| *port);
        attempts.iter().filter_map(is_open).collect()
    })
}
