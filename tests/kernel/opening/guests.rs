//! Guests of libvirt: it rejects new connections to its network, and a grant opens them.
//!
//! ```text
//! client 1, client 2 ── gate: tcp/8080 forwarded to tcp/80 ── virbr0 ── guest 192.168.122.10
//! ```

use libtest_mimic::Trial;
use postern_harness::Requirement::{self, Program};
use postern_harness::{
    Client, Family, GateConfig, Machine, Namespace, World, repository, wait_until,
};

use super::hosts::rules;

const GUEST: &str = "192.168.122.10";

const CONFIG: &str = "[service.guest]\nports = [\"tcp/8080\"]\nforward = \"192.168.122.10:80\"";

pub(super) fn tests(machine: &Machine) -> Vec<Trial> {
    let machine = machine.module("guests");
    let needs: [Requirement; 3] = [Program("ip"), Program("nft"), Program("iptables-nft")];
    [
        ("libvirt_with_nftables", "nft -f libvirt.nft"),
        (
            "libvirt_with_iptables",
            "iptables-nft-restore < libvirt.save",
        ),
    ]
    .into_iter()
    .map(|(name, load)| machine.trial(name, &needs, move || guest_opens(load)))
    .collect()
}

fn guest_opens(load: &str) {
    let user = "services = [\"tcp/80\", \"guest\"]\ntargets = [\"192.168.122.0/24\"]";
    let config = GateConfig::empty("auto")
        .section(CONFIG)
        .user("alice", user);
    let mut world = World::prepare(&config);
    let guest = Namespace::new();
    let (here, there) = (["192.168.122.1/24"], ["192.168.122.10/24"]);
    world
        .gate
        .link_as(&guest, ["virbr0", "eth0"], &here, &there);
    guest.ip("route add default via 192.168.122.1");
    guest.serve_echo(80);
    world.gate.sh("echo 1 > /proc/sys/net/ipv4/ip_forward");
    for client in [&world.first, &world.second] {
        client.space.ip("route add default via 10.77.0.1");
    }
    let load = format!(
        "cd {}; {load}",
        repository().join("tests/rulesets").display()
    );
    world.gate.sh(&load);
    let before = rules(&world);
    world.daemon.start(&world.gate);
    let by_address = |client: &Client| {
        let to = std::net::SocketAddr::new(GUEST.parse().unwrap(), 80);
        let patience = std::time::Duration::from_secs(1);
        let connect = move || std::net::TcpStream::connect_timeout(&to, patience).is_ok();
        client.space.run(connect)
    };
    let by_port = |client: &Client| client.connect(Family::V4, 8080).is_ok();
    assert!(!by_address(&world.first) && !by_port(&world.first));
    let knock = |more: &[&str]| world.first.knock("alice", Family::V4, more);
    knock(&["-s", "tcp/80", "--target", GUEST, "--for", "10m"]);
    wait_until("the guest to open", || by_address(&world.first));
    assert!(!by_port(&world.first), "it was not asked for");
    knock(&["-s", "guest", "--for", "10m"]);
    wait_until("the port of the gate to open", || by_port(&world.first));
    assert!(!by_address(&world.second) && !by_port(&world.second));
    world.at_gate(&["close", "--all"]);
    wait_until("the guest to close", || !by_address(&world.first));
    assert!(!by_port(&world.first));
    world.kill();
    world.at_gate(&["flush"]);
    assert_eq!(rules(&world), before);
}
