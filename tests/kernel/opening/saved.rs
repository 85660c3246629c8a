//! A rule set that was saved while grants were live, and is loaded at a boot: no grant in it opens anything.

use std::io::ErrorKind;
use std::net::TcpListener;

use libtest_mimic::Trial;
use postern_harness::Requirement::{Program, Root};
use postern_harness::traffic::serve_echo;
use postern_harness::{FAMILIES, Family, GateConfig, Machine, World, text, wait_for};

use super::beside::{alternatives, expect_first_only, iptables_host};
use super::hosts::rules;

/// Backend, variant of iptables, how the rules are saved, and how they are loaded.
const HOSTS: [(&str, &str, &str, &str, &str); 4] = [
    ("auto", "auto", "nft", LIST, LOAD),
    ("iptables_nft", "iptables", "nft", SAVE, RESTORE),
    ("iptables_nft_listed", "iptables", "nft", LIST, LOAD),
    ("iptables_legacy", "iptables", "legacy", SAVE, RESTORE),
];
const LIST: &str = "nft list ruleset >saved 2>/dev/null";
const LOAD: &str = "nft -f saved";
const SAVE: &str = "for v in iptables-VARIANT ip6tables-VARIANT; do $v-save >$v; done";
const RESTORE: &str = "for v in iptables-VARIANT ip6tables-VARIANT; do $v-restore <$v; done";
/// As after a boot.
const FORGET: &str = "nft flush ruleset; for v in iptables-legacy ip6tables-legacy; do \
    for t in filter nat; do $v -t $t -F; $v -t $t -X; done; $v -P INPUT ACCEPT; done";

const OUTER: u16 = 2200;
const INNER: u16 = 2300;

pub(super) fn tests(machine: &Machine) -> Vec<Trial> {
    let machine = machine.module("saved");
    let mut needs = ["ip", "nft", "iptables-nft", "ip6tables-nft"]
        .map(Program)
        .to_vec();
    needs.extend([Program("iptables-legacy"), Root]);
    let trials = HOSTS
        .into_iter()
        .flat_map(|(name, backend, variant, save, load)| {
            let boot = boot(variant, save, load);
            let again = boot.clone();
            [
                machine.trial(
                    format!("saved_grants_open_nothing::{name}"),
                    &needs,
                    move || {
                        saved_grants_open_nothing(backend, variant, &boot);
                    },
                ),
                machine.trial(
                    format!("saved_redirects_lead_nowhere::{name}"),
                    &needs,
                    move || {
                        saved_redirects_lead_nowhere(backend, variant, &again);
                    },
                ),
            ]
        });
    trials.collect()
}

fn boot(variant: &str, save: &str, load: &str) -> String {
    format!("set -e; {save}; {FORGET}; {load}").replace("VARIANT", variant)
}

fn kill_and_boot(world: &mut World, boot: &str) {
    world.kill();
    let folder = world.folder().display();
    world.gate.sh(&format!("cd {folder}; {boot}"));
}

fn saved_grants_open_nothing(backend: &str, variant: &str, boot: &str) {
    let mut world = World::prepare(&GateConfig::new(backend));
    alternatives(&mut world)(variant);
    iptables_host(&world, variant);
    world.start_again();
    world.open_both("10m");
    expect_first_only(&world);
    kill_and_boot(&mut world, boot);
    world.first.expect_both_shut_out();
    world.start_again();
    world.first.expect_both_shut_out();
    world.open_both("10m");
    expect_first_only(&world);
    world.kill();
    world.first.expect_both_let_in();
    world.at_gate(&["flush"]);
    let left = rules(&world).to_lowercase();
    assert!(!left.contains("postern"), "{left}");
}

/// Strangers get to the inner port here, and the outer one has no service.
fn saved_redirects_lead_nowhere(backend: &str, variant: &str, boot: &str) {
    let jump = format!("[service.jump]\nports = [\"tcp/{OUTER}\"]\nredirect = \"tcp/{INNER}\"\n");
    let config = GateConfig::empty(backend).firewall("protect = \"none\"");
    let config = config.section(&jump).user("alice", "services = [\"jump\"]");
    let mut world = World::prepare(&config);
    serve_echo(world.gate.run(|| TcpListener::bind(("::", INNER)).unwrap()));
    alternatives(&mut world)(variant);
    world.start_again();
    let refused = Some(ErrorKind::ConnectionRefused);
    let outer = |world: &World, family: Family| world.first.connect(family, OUTER).err();
    for family in FAMILIES {
        assert_eq!(outer(&world, family), refused);
        world
            .first
            .knock("alice", family, &["-s", "jump", "--for", "600s"]);
        wait_for("the redirect", || {
            outer(&world, family).is_none().then_some(())
        });
    }
    kill_and_boot(&mut world, boot);
    for family in FAMILIES {
        assert_eq!(outer(&world, family), refused, "{family:?}");
    }
    world.start_again();
    assert!(
        text(&world.daemon.ask(&["list"])).is_empty(),
        "no grant is taken over"
    );
}
