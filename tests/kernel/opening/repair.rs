//! The host's rules are loaded anew, or others change them: grants open again, and bans hold.

use libtest_mimic::Trial;
use postern_harness::Requirement::Program;
use postern_harness::{FAMILIES, GateConfig, Machine, World, text, wait_until};

use super::hosts::NFT_BASICS;

pub(super) fn tests(machine: &Machine) -> Vec<Trial> {
    let machine = machine.module("repair");
    let needs = [Program("ip"), Program("nft"), Program("iptables-nft")];
    vec![
        machine.trial(
            "reload_of_the_host_keeps_grants",
            &needs,
            reload_of_the_host_keeps_grants,
        ),
        machine.trial("bans_beat_grants", &needs, bans_beat_grants),
        machine.trial("war_over_the_rule_pauses", &needs, war_over_the_rule_pauses),
        machine.trial(
            "grants_of_older_rules_live_on",
            &needs,
            grants_of_older_rules_live_on,
        ),
        machine.trial(
            "unchangeable_table_is_reported",
            &needs,
            unchangeable_table_is_reported,
        ),
    ]
}

fn load(world: &World) {
    world.gate.sh(&format!(
        "nft -f - <<'X'\nflush ruleset\ntable inet filter {{ chain input {{ type filter hook input priority filter; policy drop; {NFT_BASICS} }}; }}\nX"
    ));
}

fn is_open(world: &World) -> bool {
    world
        .gate
        .sh("nft list ruleset")
        .contains("comment \"postern 0x2400/0x3c00 tcp/2222\"")
}

fn reload_of_the_host_keeps_grants() {
    let mut world = World::prepare(&GateConfig::new("nftables"));
    load(&world);
    world.daemon.start(&world.gate);
    world.open_both("10m");
    for _ in 0..5 {
        load(&world);
        wait_until("the rule in the host's chain", || is_open(&world));
        world.first.expect_both_let_in();
        world.second.expect_both_shut_out();
    }
}

/// A program insists on a chain without Postern's rule.
fn war_over_the_rule_pauses() {
    let mut world = World::prepare(&GateConfig::new("nftables"));
    load(&world);
    world.daemon.start(&world.gate);
    let status = || text(&world.daemon.ask(&["status", "--json"]));
    let metrics = || text(&world.daemon.ask(&["metrics"]));
    assert!(metrics().contains("\npostern_firewall_faults 0\n"));
    let fights = "somebody else removed Postern's rules";
    wait_until("a pause", || {
        load(&world);
        status().contains(fights)
    });
    let lines = ["no grant opens now", fights];
    world.daemon.expect_logged(1, &lines);
    assert!(metrics().contains("\npostern_firewall_faults 2\n"));
    assert!(status().contains("\"granted\": \"dropped by the policy of chain input"));
    // it leaves the chain alone in the pause
    load(&world);
    world.first.knock("alice", postern_harness::Family::V4, &[]);
    world.daemon.wait_for_count("refuse firewall", 1);
    assert!(!is_open(&world));
    wait_until("the end of the pause", || is_open(&world));
    wait_until("grants to open again", || !status().contains("obstacle"));
    world.daemon.expect_logged(1, &["grants open again"]);
    world.daemon.expect_logged(1, &lines);
}

fn bans_beat_grants() {
    let mut world = World::prepare(&GateConfig::new("auto"));
    let address = world.first.address(postern_harness::Family::V4);
    let ban = format!("iptables-nft -I INPUT -s {address} -p tcp --dport 2222 -j DROP");
    let unban = ban.replace("-I", "-D");
    world.gate.sh("iptables-nft -P INPUT DROP; iptables-nft -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT");
    world.gate.sh(&ban);
    world.daemon.start(&world.gate);
    world
        .first
        .knock("alice", postern_harness::Family::V4, &["--for", "10m"]);
    world.daemon.wait_for_admitted(1);
    world.first.expect_shut_out(postern_harness::Family::V4);
    world.gate.sh(&unban);
    drop(world.first.expect_let_in(postern_harness::Family::V4));
    world.gate.sh(&ban);
    world.first.expect_shut_out(postern_harness::Family::V4);
}

/// Before there was a mark, the iptables driver accepted, and each grant had rules.
fn grants_of_older_rules_live_on() {
    let config = GateConfig::empty("iptables").service("wide", "tcp/2222-2300");
    let config = config.user("alice", "services = [\"wide\", \"tcp/2222\"]");
    let mut world = World::start(&config);
    for family in FAMILIES {
        let wide = ["-s", "wide", "--for", "10m"];
        world.first.open("alice", family, &wide);
    }
    world.daemon.stop();
    world.gate.sh(
        "for v in iptables ip6tables; do $v-save | sed 's/2222:2300/2222/; s/-g POSTERN-MARK/-j ACCEPT/; /MARK/d' | $v-restore; done; \
         nft delete table inet postern_live",
    );
    world.start_again();
    let grants = world.daemon.grants();
    let services = grants.iter().flat_map(|grant| &grant.services);
    let services: Vec<String> = services.map(ToString::to_string).collect();
    assert_eq!(services, ["tcp/2222"; 2]);
    world.first.expect_both_let_in();
    world.second.expect_both_shut_out();
}

/// With `flags owner` only the owner changes a table, as firewalld does by default since version 2.1.
fn unchangeable_table_is_reported() {
    let mut world = World::prepare(&GateConfig::new("nftables"));
    world.install(
        "owner",
        "#!/bin/sh\n{ echo 'add table inet filter { flags owner; }'\n\
         echo 'add chain inet filter input { type filter hook input priority filter; policy drop; }'; exec sleep 30; } | nft -i >/dev/null\n",
    );
    let owner = world.folder().join("owner");
    world
        .gate
        .sh(&format!("{} </dev/null >/dev/null 2>&1 &", owner.display()));
    wait_until("the owner's table", || {
        world.gate.sh("nft list tables").contains("filter")
    });
    let cure =
        "nft table inet filter drops granted packets, and its owner lets nobody else change it";
    let checked = text(&world.daemon.at_gate(&world.gate, &["check"]));
    assert!(checked.contains(cure), "{checked}");
    world.daemon.start_process(&world.gate);
    assert_eq!(world.daemon.wait().code(), Some(69));
    let log = world.daemon.log();
    let refusal = format!("no grant would open on this host: {cure}");
    assert!(log.contains(&refusal), "{log}");
}
