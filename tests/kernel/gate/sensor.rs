//! A gate without a packet socket: rules of the firewall send knocks and hits to a group of NFLOG.

use std::fs;

use postern_harness::process::signal;
use postern_harness::{
    FAMILIES, Family, GateConfig, KNOCK, SERVICE, World, socket_for, wait_for, wait_until,
};
use rustix::process::Signal;

use super::reload::{self, lose_none};
use super::why_not::bind_group;
use super::{fwknop, sequences};

const CAPTURE: &str = "capture = { nflog = 5 }";

/// It drops by default, and knocks and hits before connection tracking. Its own log rules have the same group.
const HOST: &str = "for v in iptables ip6tables; do $v -P INPUT DROP; \
$v -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT; done; ip6tables -A INPUT -p ipv6-icmp -j ACCEPT; \
nft 'table inet host {
    chain early {
        type filter hook prerouting priority -290
        udp dport 62201 log group 5
        tcp dport { 5005, 5008, 1002, 1050 } log group 5
        udp dport { 62201, 9000 } notrack
        udp dport { 62201, 9000 } drop
        tcp dport { 5001, 5005, 5008, 1002, 1050, 7000, 8000 } notrack
        tcp dport { 5001, 5005, 5008, 1002, 1050, 7000, 8000 } drop
    }
}'";

fn plan(backend: &str) -> GateConfig {
    GateConfig::new(backend).gate(CAPTURE)
}

pub(crate) fn knocks_open_without_a_packet_socket(backend: &'static str) {
    let mut world = World::prepare(&plan(backend));
    if backend == "nftables" {
        // The programs of iptables need it.
        world.daemon.through = Some("exec setpriv --bounding-set -net_raw \"$@\"".to_owned());
    }
    world.start_again();
    let sockets = world
        .gate
        .run(|| fs::read_to_string("/proc/thread-self/net/packet").unwrap());
    assert_eq!(sockets.lines().count(), 1, "{sockets}");
    // The rule takes only what is as long as a knock.
    world.first.send(Family::V4, &[7; 131]);
    world.first.send(Family::V6, &[7; 533]);
    world.first.send(Family::V6, &[7; 200]);
    world.open_both("10m");
    world.second.expect_both_shut_out();
    let status = world.daemon.status();
    assert_eq!(status.count("drop unknown-hint"), 1, "{status:?}");
    assert_eq!(status.captures[0].received, status.judged(), "{status:?}");
    let flush = "nft flush ruleset";
    let mut rules = String::new();
    for round in 1..=2 {
        let before = std::mem::replace(&mut rules, own_rules(&world));
        assert!(before.is_empty() || before == rules, "{before}\n{rules}");
        world.gate.sh(flush);
        world.daemon.wait_for_lines(round, &["were restored"]);
        let family = FAMILIES[round - 1];
        world.second.open("alice", family, &[]);
    }
    // A group without a reader costs nothing, so the rules may stay.
    assert!(world.daemon.stop().success());
    assert_eq!(own_rules(&world), rules);
    world.second.send(Family::V4, &[7; 200]);
    world.start_again();
    world.second.open("alice", Family::V4, &[]);
    world.kill();
    world.start_again();
    world.at_gate(&["close", "--all"]);
    world.second.open("alice", Family::V4, &[]);
    assert!(world.daemon.stop().success());
    world.at_gate(&["flush"]);
    assert_eq!(world.firewall().trim(), "");
}

/// Those that send to the group.
fn own_rules(world: &World) -> String {
    let all = world.firewall();
    let own = all.lines().filter(|line| {
        let group = ["group 5", "nflog-group 5"];
        group.iter().any(|group| line.contains(group))
    });
    own.collect::<Vec<_>>().join("\n")
}

pub(crate) fn classic_clients_open_on_a_dropping_host(backend: &'static str) {
    let sequence = |name: &str, sequence: &str| {
        let lines = format!("services = [\"tcp/{SERVICE}\"]\nsequence = [{sequence}]");
        (name.to_owned(), lines)
    };
    let users = [
        sequence(
            "book",
            "\"tcp/5005\", \"tcp/5008\", \"tcp/1002\", \"tcp/1050\"",
        ),
        sequence("cd00r", "\"tcp/5001\""),
        sequence("mixed", "\"tcp/7000\", \"tcp/8000\", \"udp/9000\""),
        ("carol".to_owned(), fwknop::lines("carol")),
    ];
    let plan = users.iter().fold(plan(backend), |plan, (name, lines)| {
        plan.user_with(name, lines)
    });
    let mut world = World::prepare(&plan);
    world.gate.sh(HOST);
    world.start_again();
    let opened = |user: &str, family: Family, knock: &dyn Fn(&World)| {
        world.first.expect_shut_out(family);
        knock(&world);
        world.first.expect_let_in(family);
        let grants = world.wait_for_grants(1);
        assert_eq!(grants[0].user, user);
        world.at_gate(&["close", "--all"]);
    };
    for family in FAMILIES {
        let hits =
            |hits: &'static [&str]| move |world: &World| sequences::knock(world, family, hits);
        opened("alice", family, &|world| {
            world.first.knock("alice", family, &[]);
        });
        opened("book", family, &hits(&["5005", "5008", "1002", "1050"]));
        opened("cd00r", family, &hits(&["5001"]));
        opened("mixed", family, &hits(&["7000", "8000", "9000:udp"]));
    }
    opened("carol", Family::V4, &|world| {
        fwknop::knock(&world.first, "carol", "-A tcp/2222 -a 10.77.0.2");
    });
    // Both rules sent each knock.
    assert_eq!(world.daemon.status().count("drop duplicate"), 3);
}

pub(crate) fn taken_group_stops_the_start(backend: &'static str) {
    let mut world = World::prepare(&plan(backend));
    let other = bind_group(&world, 5);
    world.daemon.start_process(&world.gate);
    assert!(!world.daemon.wait().success());
    let said = "binding group 5 of NFLOG: the group is taken: another program reads group 5";
    world.daemon.expect_logged(1, &[said]);
    // Nothing is more open than with a gate that hears knocks.
    world.first.expect_both_shut_out();
    drop(other);
    world.start_again();
    world.open_both("10m");
}

/// A stopped engine reads nothing. What does not fit into its socket is lost and counted.
pub(crate) fn full_nflog_socket_is_counted(backend: &'static str) {
    let world = World::start(&plan(backend));
    let engine = world.daemon.engine();
    signal(engine, Signal::STOP);
    let sent = 60_000_u64;
    let to = std::net::SocketAddr::new(Family::V4.address(1), KNOCK);
    world.first.space.run(move || {
        let socket = socket_for(to);
        for _ in 0..sent {
            socket.send_to(&[7; 300], to).unwrap();
        }
    });
    signal(engine, Signal::CONT);
    wait_until("every packet to be received or dropped", || {
        let capture = world.daemon.status().captures[0].clone();
        let dropped = capture.dropped.unwrap();
        capture.received > 0 && dropped > 0 && capture.received + dropped == sent
    });
    world.first.open("alice", Family::V4, &[]);
}

pub(crate) fn nflog_knocks_count_on_named_interfaces(backend: &'static str) {
    const NAME: &str = "uplink-of-the-gate-1";
    let names = format!("interfaces = [\"{NAME}\"]");
    let world = World::start(&plan(backend).gate(&names));
    let end = world.first.gate_end();
    let add = format!("link property add dev {end} altname {NAME}");
    world.gate.ip(&add);
    wait_for("the interface to be noticed", || {
        world.first.knock("alice", Family::V4, &[]);
        world.first.connect(Family::V4, SERVICE).ok()
    });
    world.second.knock("alice", Family::V4, &[]);
    world.first.open("alice", Family::V6, &[]);
    world.second.expect_both_shut_out();
}

pub(crate) fn reload_with_nflog_loses_no_knock(backend: &'static str) {
    lose_none(&reload::plan(backend).gate(CAPTURE));
}
