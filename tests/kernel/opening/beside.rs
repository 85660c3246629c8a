//! Rule sets that were saved, rules that only nft can show, the other variant of iptables: Postern starts, opens, and leaves
//! nothing behind.

use std::os::unix::fs::symlink;

use libtest_mimic::Trial;
use postern_harness::Requirement::{Program, Root};
use postern_harness::{GateConfig, Machine, World, wait_until};

use super::hosts::rules;

/// A host whose iptables drops by default.
const IPTABLES: &str = "for v in iptables-VARIANT ip6tables-VARIANT; do $v -P INPUT DROP; \
    $v -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT; $v -A INPUT -p ipv6-icmp -j ACCEPT; done";
/// iptables refuses to show a table with such a rule.
const ONLY_NFT: &str =
    "for f in ip ip6; do nft insert rule $f filter CHAIN tcp dport 80 ct state new counter; done";
/// As after a boot: everything that was saved, and nothing else.
const SAVE: &str = "nft list ruleset >saved 2>/dev/null; nft flush ruleset; nft -f saved";

pub(super) fn tests(machine: &Machine) -> Vec<Trial> {
    let machine = machine.module("beside");
    let mut needs = [
        "ip",
        "nft",
        "iptables-nft",
        "ip6tables-nft",
        "iptables-legacy",
    ]
    .map(Program)
    .to_vec();
    needs.push(Root);
    postern_harness::trials_by![
        machine, &needs, ["iptables", "auto"];
        saved_rules_are_taken_over,
        rules_that_only_nft_shows_are_harmless,
        flush_leaves_what_was_there,
        switched_iptables_keeps_grants,
    ]
}

pub(super) fn iptables_host(world: &World, variant: &str) {
    world.gate.sh(&IPTABLES.replace("VARIANT", variant));
}

fn save_and_load(world: &World) {
    let folder = world.folder().display();
    world.gate.sh(&format!("cd {folder}; {SAVE}"));
}

pub(super) fn expect_first_only(world: &World) {
    world.first.expect_both_let_in();
    world.second.expect_both_shut_out();
}

/// Removes everything, and compares with the rules of before.
fn flush(mut world: World, before: &str) {
    world.daemon.stop();
    world.at_gate(&["flush"]);
    assert_eq!(rules(&world), before);
}

fn saved_rules_are_taken_over(backend: &'static str) {
    let mut world = World::prepare(&GateConfig::new("iptables"));
    iptables_host(&world, "nft");
    save_and_load(&world);
    let before = rules(&world);
    world.start_again();
    world.open_both("10m");
    world.kill();
    save_and_load(&world);
    world.rewrite(&GateConfig::new(backend));
    world.start_again();
    world.first.expect_both_shut_out();
    world.open_both("10m");
    expect_first_only(&world);
    flush(world, &before);
}

fn rules_that_only_nft_shows_are_harmless(backend: &'static str) {
    let mut world = World::prepare(&GateConfig::new(backend));
    iptables_host(&world, "nft");
    world.gate.sh(&ONLY_NFT.replace("CHAIN", "INPUT"));
    let before = rules(&world);
    world.start_again();
    world.open_both("10m");
    world.kill();
    world.start_again();
    expect_first_only(&world);
    if backend == "iptables" {
        world.gate.sh(&ONLY_NFT.replace("CHAIN", "POSTERN"));
        let restored =
            "another program changed the firewall; protection and 2 grants were restored";
        wait_until("the rule to be removed", || {
            !world.daemon.logged(&["WARN", restored]).is_empty()
        });
        expect_first_only(&world);
    }
    flush(world, &before);
}

/// Base chains and tables that iptables created go; those of the administrator stay.
fn flush_leaves_what_was_there(backend: &'static str) {
    for host in [
        "true",
        "nft 'table ip filter { chain input { type filter hook input priority 0; tcp dport 25 drop; }; }'",
        "nft 'table ip filter { chain INPUT { type filter hook input priority 0; }; }; table ip6 filter { }'",
    ] {
        let mut world = World::prepare(&GateConfig::new(backend));
        world.gate.sh(host);
        let before = rules(&world);
        world.start_again();
        world.open_both("10m");
        world.kill();
        // as firewalld does when it reloads
        if host == "true" && backend == "iptables" {
            world
                .gate
                .sh("for v in iptables-nft ip6tables-nft; do $v -F; $v -X; done");
        }
        world.at_gate(&["flush"]);
        assert_eq!(rules(&world), before);
    }
}

/// Gives posternd plain names of iptables of its own. The result sets the variant that they stand for.
pub(super) fn alternatives(world: &mut World) -> impl Fn(&str) + use<> {
    let links = world.folder().join("alternatives");
    let shown = links.display();
    world.gate.sh(&format!("cp -a /etc/alternatives {shown}"));
    let through = format!("mount --bind {shown} /etc/alternatives; exec \"$@\"");
    world.daemon.through = Some(through);
    move |variant| {
        for name in ["iptables", "ip6tables"] {
            for end in ["", "-save", "-restore"] {
                let link = links.join(format!("{name}{end}"));
                std::fs::remove_file(&link).unwrap();
                symlink(format!("/usr/sbin/{name}-{variant}{end}"), link).unwrap();
            }
        }
    }
}

/// The plain names become those of the other variant while the daemon runs, and between two starts.
fn switched_iptables_keeps_grants(backend: &'static str) {
    for [from, to] in [["nft", "legacy"], ["legacy", "nft"]] {
        let mut world = World::prepare(&GateConfig::new(backend));
        let switch = alternatives(&mut world);
        iptables_host(&world, from);
        let before = rules(&world);
        switch(from);
        world.start_again();
        world.open_both("10m");
        switch(to);
        world.at_gate(&["close", "--all"]);
        world.wait_until_closed();
        world.first.expect_both_shut_out();
        world.open_both("10m");
        world.kill();
        world.start_again();
        expect_first_only(&world);
        world.kill();
        world.at_gate(&["flush"]);
        // Nothing deletes an empty table of the legacy variant.
        let after = rules(&world).replace("\n*filter\nCOMMIT", "");
        assert_eq!(after, before.replace("\n*filter\nCOMMIT", ""));
    }
}
