//! Published container ports open by their outer port: the packet is translated, and never gets to the input hook.
//!
//! ```text
//! client 1, client 2 ── gate: tcp/8080 translated to tcp/80 ── docker0 ── container 172.17.0.2
//! ```

use std::net::SocketAddr;

use libtest_mimic::Trial;
use postern_harness::Requirement::{self, Program};
use postern_harness::{
    Family, GateConfig, Machine, Namespace, World, repository, text, wait_until,
};

use super::hosts::rules;
use crate::host::check::{check, container, ids};

const PUBLISHED: u16 = 8080;

const DOCKER: &str = "iptables-nft-restore < docker.save";

/// Each is what the tool wrote for `-p 8080:80`, and what the host adds.
const HOSTS: [(&str, &str); 4] = [
    ("docker", DOCKER),
    ("docker_legacy", "iptables-legacy-restore < docker.save"),
    (
        "podman_with_nftables",
        "sed 's/10[.]88[.]/172.17./; s/podman0/docker0/' netavark.nft | nft -f -",
    ),
    (
        "docker_behind_a_dropping_chain",
        "iptables-nft-restore < docker.save; nft -f - <<'X'
table inet filter { chain forward { type filter hook forward priority filter; policy drop; \
 ct state established,related accept; iifname docker0 accept; }; }
X",
    ),
];

pub(super) fn tests(machine: &Machine) -> Vec<Trial> {
    let machine = machine.module("published");
    let needs: [Requirement; 4] = [
        Program("ip"),
        Program("nft"),
        Program("iptables-nft"),
        Program("iptables-legacy"),
    ];
    let mut trials: Vec<Trial> = HOSTS
        .into_iter()
        .map(|(name, script)| machine.trial(name, &needs, move || opens_by_outer_port(script)))
        .collect();
    trials.push(machine.trial("containers_reach_others", &needs, containers_reach_others));
    trials
}

fn prepare(script: &str) -> (World, Namespace) {
    let config = GateConfig::empty("auto").user("alice", "services = [\"tcp/8080\"]");
    let world = World::prepare(&config);
    let container = container(&world);
    let folder = repository().join("tests/rulesets");
    world.gate.sh(&format!("cd {}; {script}", folder.display()));
    for client in [&world.first, &world.second] {
        client.space.ip("route add default via 10.77.0.1");
    }
    (world, container)
}

fn reaches(client: &postern_harness::Client) -> bool {
    client.connect(Family::V4, PUBLISHED).is_ok()
}

fn opens_by_outer_port(script: &str) {
    let (mut world, _container) = prepare(script);
    let is_closed_by_host = script.contains("policy drop");
    assert_eq!(reaches(&world.first), !is_closed_by_host, "without Postern");
    let before = rules(&world);
    world.daemon.start(&world.gate);
    assert!(!reaches(&world.first), "a stranger");
    let found = check(&world);
    assert!(!ids(&found).contains(&"docker-published"), "{found:?}");
    world
        .first
        .knock("alice", Family::V4, &["-s", "tcp/8080", "--for", "10m"]);
    world.daemon.wait_for_admitted(1);
    wait_until("the published port to open", || reaches(&world.first));
    assert!(!reaches(&world.second), "another stranger");
    let from = |client: &postern_harness::Client| {
        let address = client.address(Family::V4).to_string();
        text(
            &world
                .daemon
                .at_gate(&world.gate, &["check", "--from", &address]),
        )
    };
    let (granted, stranger) = (from(&world.first), from(&world.second));
    assert!(
        granted.contains("(sent to 172.17.0.2 tcp/80)") && granted.contains("accepted"),
        "{granted}"
    );
    assert!(
        stranger.contains("dropped by") && stranger.contains("inet postern"),
        "{stranger}"
    );
    let status = text(&world.daemon.ask(&["status"]));
    let is_judged = |line: &str| line.starts_with("tcp/8080 over IPv4: granted: accepted by ");
    assert!(status.lines().any(is_judged), "{status}");
    world.first.postern("alice", &["close", "v4"]);
    wait_until("the published port to close", || !reaches(&world.first));
    world.kill();
    assert!(!reaches(&world.second), "the daemon is dead");
    world.at_gate(&["flush"]);
    assert_eq!(rules(&world), before);
}

/// Only packets to the gate's own ports are hidden.
fn containers_reach_others() {
    let (mut world, container) = prepare(DOCKER);
    world.first.space.serve_echo(PUBLISHED);
    world.daemon.start(&world.gate);
    let client = SocketAddr::new(world.first.address(Family::V4), PUBLISHED);
    let connects = |space: &Namespace, to: SocketAddr| {
        space.run(move || {
            std::net::TcpStream::connect_timeout(&to, std::time::Duration::from_secs(2)).is_ok()
        })
    };
    assert!(
        connects(&container, client),
        "a container reaches the same port of another host"
    );
    let inner = SocketAddr::from(([172, 17, 0, 2], 80));
    assert!(
        connects(&world.gate, inner),
        "the gate reaches the container"
    );
}
