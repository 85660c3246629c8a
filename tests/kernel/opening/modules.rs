//! Modules of iptables are missing or broken: nothing counts as open that is not, and the error names the module.

use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use postern_harness::Requirement::{Other, Program, Root};
use postern_harness::{Family, GateConfig, Machine, World, posternd, run, wait_until};

use super::hosts::IPTABLES;

const MODULES: &str = "/usr/lib/x86_64-linux-gnu/xtables";
const SAID: &str = "libxt_conntrack.so of iptables is missing or broken; install it again";

pub(super) fn tests(machine: &Machine) -> Vec<Trial> {
    let machine = machine.module("modules");
    let programs = ["ip", "nft", "iptables-nft", "ip6tables-nft", "unshare"].map(Program);
    let folder = Other("the modules of iptables", Path::new(MODULES).exists());
    let needs = [&programs[..], &[Root, folder]].concat();
    vec![
        machine.trial("nftables_needs_no_module", &needs, nftables_needs_no_module),
        machine.trial("missing_module_is_named", &needs, missing_module_is_named),
        machine.trial("lost_module_is_told", &needs, lost_module_is_told),
    ]
}

/// A copy of the modules, which posternd and its programs see instead.
fn copy(world: &mut World) -> PathBuf {
    let folder = world.folder().join("xtables");
    let there = folder.display();
    world.gate.sh(&format!("cp -a {MODULES} {there}"));
    world.daemon.through = Some(format!("mount --bind {there} {MODULES} && exec \"$@\""));
    folder
}

fn nftables_needs_no_module() {
    let mut world = World::prepare(&GateConfig::new("auto"));
    world.gate.sh(&format!(
        "for v in iptables-nft ip6tables-nft; do {IPTABLES} done"
    ));
    let modules = copy(&mut world);
    fs::remove_file(modules.join("libxt_comment.so")).unwrap();
    fs::write(modules.join("libxt_conntrack.so"), "").unwrap();
    world.daemon.start(&world.gate);
    world.open_both("10m");
    world.first.expect_both_let_in();
    world.second.expect_both_shut_out();
    // An administrator's iptables shows the rule.
    assert!(
        world
            .gate
            .sh("iptables-nft -S INPUT")
            .contains("postern 0x2400/0x3c00 tcp/2222")
    );
}

fn missing_module_is_named() {
    let mut world = World::prepare(&GateConfig::new("iptables"));
    let modules = copy(&mut world);
    fs::write(modules.join("libxt_conntrack.so"), "").unwrap();
    world.daemon.start_process(&world.gate);
    assert_eq!(world.daemon.wait().code(), Some(69));
    assert!(world.daemon.log().contains(SAID), "{}", world.daemon.log());
    let through = world.daemon.through.clone().unwrap();
    let config = world.folder().join("posternd.toml").display().to_string();
    let check = [
        "--mount",
        "sh",
        "-c",
        &through,
        "sh",
        posternd(),
        "check",
        "--config",
        &config,
    ];
    let ran = run(&world.gate, "unshare", &check);
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(!ran.status.success() && said.contains(SAID), "{said}");
}

fn lost_module_is_told() {
    // Only a range of ports needs the program.
    let config = GateConfig::empty("iptables").service("wide", "tcp/2222-2300");
    let config = config.user("alice", "services = [\"wide\", \"tcp/2222\"]");
    let mut world = World::prepare(&config);
    let modules = copy(&mut world);
    world.daemon.start(&world.gate);
    let module = modules.join("libxt_comment.so");
    let whole = fs::read(&module).unwrap();
    fs::remove_file(&module).unwrap();
    let wide = ["-s", "wide", "--for", "10m"];
    world.first.knock("alice", Family::V4, &wide);
    let is_told = || {
        world
            .at_gate(&["status"])
            .contains("libxt_comment.so of iptables is missing")
    };
    wait_until("status to say it", is_told);
    assert!(world.daemon.grants().is_empty());
    world.first.expect_shut_out(Family::V4);
    fs::write(&module, whole).unwrap();
    world.first.open("alice", Family::V4, &wide);
    assert!(!is_told());
}
