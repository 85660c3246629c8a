//! Grants are added to sets of the host, and its own rules look the sets up.

use libtest_mimic::Trial;
use postern_harness::Requirement::Program;
use postern_harness::{FAMILIES, Family, GateConfig, Machine, World, text, wait_for, wait_until};

use super::hosts::NFT_BASICS;

const SETS: &str = "set ssh4 { type ipv4_addr; flags timeout; }; \
     set ssh6 { typeof ip6 saddr . meta l4proto . tcp dport; flags timeout; };";

pub(super) fn tests(machine: &Machine) -> Vec<Trial> {
    let machine = machine.module("sets");
    let needs = [Program("ip"), Program("nft")];
    let trial = |name, test: fn()| machine.trial(name, &needs, test);
    vec![
        trial("set_of_the_host_opens_and_closes", opens_and_closes),
        trial("removal_by_hand_closes_the_grant", removal_by_hand_closes),
        trial("reload_and_restart_keep_grants_in_sets", reload_and_restart),
        trial("only_elements_of_postern_are_removed", only_own_are_removed),
        trial("missing_set_refuses_knocks_until_it_appears", missing_set),
        trial("set_of_one_family_needs_no_other", one_family),
        trial("unfit_set_is_refused_with_the_cure", unfit_set),
    ]
}

/// The host drops by default and keeps its rules itself.
fn config() -> GateConfig {
    GateConfig::new("nftables")
        .firewall("host_rules = \"mine\"")
        .section(
            "[service.ssh]\nports = [\"tcp/2222\"]\nnft_set = [\"inet filter ssh4\", \"inet filter ssh6\"]",
        )
}

fn load(world: &World, sets: &str) {
    world.gate.sh(&format!(
        "nft -f - <<'X'\nflush ruleset\ntable inet filter {{ {sets}\n chain input {{ type filter hook input priority filter; policy drop; {NFT_BASICS} \
         ip saddr @ssh4 tcp dport 2222 accept; ip6 saddr . meta l4proto . tcp dport @ssh6 accept; }}; }}\nX"
    ));
}

fn start() -> World {
    let mut world = World::prepare(&config());
    load(&world, SETS);
    world.daemon.start(&world.gate);
    world
}

fn elements(world: &World, set: &str) -> Vec<String> {
    let listed = world.gate.sh(&format!("nft list set inet filter {set}"));
    let Some((_, rest)) = listed.split_once("elements = {") else {
        return Vec::new();
    };
    let all = rest.split('}').next().unwrap_or_default();
    all.split(',').map(|one| one.trim().to_owned()).collect()
}

fn opens_and_closes() {
    let world = start();
    world.first.expect_both_shut_out();
    world.open_both("10m");
    world.first.expect_both_let_in();
    world.second.expect_both_shut_out();
    let status = text(&world.daemon.ask(&["status"]));
    assert!(!status.contains("refused"), "{status}");
    let [one] = &elements(&world, "ssh4")[..] else {
        panic!("{:?}", elements(&world, "ssh4"));
    };
    assert!(
        one.starts_with("10.77.0.2 timeout ") && one.contains("comment \"postern grant "),
        "{one}"
    );
    // a renewal moves the end
    world.first.open("alice", Family::V4, &["--for", "50m"]);
    wait_until("the new end", || {
        elements(&world, "ssh4")[0].contains("expires 49m")
    });
    for family in FAMILIES {
        world.first.close("alice", family);
    }
    world.wait_until_closed();
    world.first.expect_both_shut_out();
    // the kernel ends a grant when nobody else does
    let mut world = world;
    world.first.open("alice", Family::V4, &["--for", "2s"]);
    world.kill();
    wait_until("the end of the element", || {
        elements(&world, "ssh4").is_empty()
    });
}

fn removal_by_hand_closes() {
    let world = start();
    world.open_both("10m");
    world
        .gate
        .sh("nft delete element inet filter ssh4 '{ 10.77.0.2 }'");
    let left = world.wait_for_grants(1);
    assert!(left[0].allow.to_string().starts_with("fd77::2"), "{left:?}");
    world.first.expect_shut_out(Family::V4);
    drop(world.first.expect_let_in(Family::V6));
    world
        .daemon
        .expect_logged(1, &["closed, somebody removed it from a set of the host"]);
    world.daemon.expect_logged(0, &["not closed"]);
    // a new knock opens again
    world.first.open("alice", Family::V4, &["--for", "10m"]);
}

fn reload_and_restart() {
    let mut world = start();
    world.open_both("10m");
    let is_open = |world: &World| {
        ["ssh4", "ssh6"]
            .iter()
            .all(|set| elements(world, set).len() == 1)
    };
    for _ in 0..3 {
        load(&world, SETS);
        wait_until("the elements", || is_open(&world));
        world.first.expect_both_let_in();
    }
    world.restart();
    wait_until("the elements", || is_open(&world));
    world.wait_for_grants(2);
    world.kill();
    world
        .gate
        .sh("nft flush set inet filter ssh4; nft flush set inet filter ssh6");
    world.start_again();
    wait_until("the elements", || is_open(&world));
    world.first.expect_both_let_in();
}

/// A rule set that was saved with a grant brings it back.
fn only_own_are_removed() {
    let mut world = World::prepare(&config());
    load(&world, SETS);
    let other = "10.77.0.9 timeout 1h";
    world.gate.sh(&format!(
        "nft add element inet filter ssh4 '{{ {other}, 10.77.0.2 timeout 1h comment \"postern grant 7\" }}'"
    ));
    let found = text(&world.daemon.at_gate(&world.gate, &["check"]));
    assert!(
        found.contains("set inet filter ssh4 has grants of Postern"),
        "{found}"
    );
    world.daemon.start(&world.gate);
    let only_other = |world: &World| {
        let elements = elements(world, "ssh4");
        elements.len() == 1 && elements[0].starts_with("10.77.0.9")
    };
    assert!(only_other(&world), "{:?}", elements(&world, "ssh4"));
    world.open_both("10m");
    world.kill();
    world.at_gate(&["flush"]);
    assert!(only_other(&world), "{:?}", elements(&world, "ssh4"));
    assert_eq!(elements(&world, "ssh6"), Vec::<String>::new());
}

fn missing_set() {
    let mut world = World::prepare(&config().firewall("packet_mark = \"0x2400/0x3c00\""));
    world.daemon.start(&world.gate);
    world.first.knock("alice", Family::V4, &[]);
    let lines = world
        .daemon
        .wait_for_lines(1, &["not open", "set inet filter ssh4 does not exist"]);
    assert!(lines[0].contains("firewall"), "{lines:?}");
    world.first.expect_shut_out(Family::V4);
    let status = text(&world.daemon.ask(&["status"]));
    assert!(
        status.contains("refused: set inet filter ssh4 does not exist"),
        "{status}"
    );
    load(&world, SETS);
    let is_known = || !text(&world.daemon.ask(&["status"])).contains("refused: set");
    wait_until("the sets are known", is_known);
    world.open_both("10m");
    world.first.expect_both_let_in();
}

/// The grant over IPv6 is refused, and the host needs no rule for it.
fn one_family() {
    let config = GateConfig::new("nftables")
        .firewall("host_rules = \"mine\"")
        .section("[service.ssh]\nports = [\"tcp/2222\"]\nnft_set = \"inet filter ssh4\"");
    let mut world = World::prepare(&config);
    load(&world, SETS);
    world.daemon.start(&world.gate);
    world.first.open("alice", Family::V4, &["--for", "10m"]);
    world.first.knock("alice", Family::V6, &[]);
    world
        .daemon
        .wait_for_lines(1, &["not open", "no set takes the address fd77::2/128"]);
    world.first.expect_shut_out(Family::V6);
}

fn unfit_set() {
    for (sets, cure) in [
        (
            SETS.replace("ipv4_addr; flags timeout", "ipv4_addr"),
            "add it, so that the kernel ends grants",
        ),
        (
            SETS.replace(
                "ipv4_addr; flags timeout",
                "ipv4_addr; flags timeout, interval",
            ),
            "single addresses",
        ),
        (
            SETS.replace("type ipv4_addr;", "type ipv4_addr . inet_service;"),
            "is of another type",
        ),
    ] {
        let mut world = World::prepare(&config());
        world
            .gate
            .sh(&format!("nft 'table inet filter {{ {sets} }}'"));
        world.daemon.start_process(&world.gate);
        assert_eq!(world.daemon.wait().code(), Some(78), "{sets}");
        let log = wait_for("the reason", || {
            Some(world.daemon.log()).filter(|log| log.contains(cure))
        });
        assert!(
            log.contains("posternd.toml: nft_set of [service.ssh]: set inet filter ssh4"),
            "{log}"
        );
        let found = world.daemon.at_gate(&world.gate, &["check"]);
        assert!(
            text(&found).contains(cure) || String::from_utf8_lossy(&found.stderr).contains(cure)
        );
    }
}
