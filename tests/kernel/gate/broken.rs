//! A firewall program that fails, hangs, or prints invalid output: its failures are reported, and the gate keeps working.
//!
//! A script is mounted over the real programs in a mount namespace of the gate's own; a file tells it what to do.

use std::fs;

use postern_harness::world::replaced_programs::replace_iptables;
use postern_harness::{FAMILIES, Family, GateConfig, SERVICE, World, wait_until};

/// Replaces iptables-restore and ip6tables-restore as the file `mode` says; runs the real program otherwise.
const SCRIPT: &str = r#"#!/bin/sh
name=${0##*/}
case "$name/$(cat FOLDER/mode)" in
  ip6tables-restore/six | *-restore/fails) echo "it is broken" >&2; exit 1 ;;
  *-restore/locked) echo "Another app is currently holding the xtables lock." >&2; exit 4 ;;
  *-restore/garbage) head -c 50000 /dev/urandom; head -c 5000 /dev/urandom >&2; exit 2 ;;
  *-restore/babbles) head -c 5000 /dev/urandom; exit 0 ;;
  *-restore/lies) exit 0 ;;
  *-restore/hangs) exec sleep 600 ;;
  *-restore/slow) : > FOLDER/asleep; sleep 2 ;;
  *-restore/killed) kill -9 $$ ;;
esac
exec REAL "$name" "$@"
"#;

/// A gate whose firewall programs do what the file `mode` says. Only a range of ports needs them.
fn world() -> World {
    let config = GateConfig::empty("iptables").service("wide", &format!("tcp/{SERVICE}-2300"));
    let mut world = World::prepare(&config.user("alice", "services = [\"wide\"]"));
    tell(&world, "works");
    replace_iptables(&world, SCRIPT);
    world.start_again();
    world
}

fn tell(world: &World, mode: &str) {
    fs::write(world.folder().join("mode.new"), mode).unwrap();
    fs::rename(world.folder().join("mode.new"), world.folder().join("mode")).unwrap();
}

pub(crate) fn failed_opening_leaves_nothing_open(_: &'static str) {
    let world = world();
    for (count, mode) in (1..).zip([
        "fails", "locked", "garbage", "killed", "babbles", "lies", "hangs",
    ]) {
        let family = FAMILIES[usize::from(count % 2 == 0)];
        tell(&world, mode);
        world
            .first
            .knock("alice", family, &["-s", "wide", "--for", "10m"]);
        world.daemon.wait_for_count("refuse firewall", count);
        tell(&world, "works");
        world.expect_nothing_open();
        world.first.expect_shut_out(family);
        let lines = world.daemon.logged(&["WARN", "alice"]);
        assert_eq!(
            lines.len(),
            usize::try_from(count).unwrap(),
            "one line a knock: {lines:#?}"
        );
        let line = lines.last().unwrap();
        assert!(
            line.contains("not open: ") && line.contains("tables-restore ") && line.contains("; "),
            "{mode}: {line}"
        );
        assert!(!line.contains('\u{1b}') && line.len() < 1000, "{line}");
        world
            .first
            .open("alice", family, &["-s", "wide", "--for", "10m"]);
        world.daemon.asked(&["close", "--all"]);
        world.expect_nothing_open();
    }
    world.daemon.expect_logged(1, &["the engine serves"]);
}

pub(crate) fn failed_closing_is_retried(_: &'static str) {
    let world = world();
    for family in FAMILIES {
        world
            .first
            .open("alice", family, &["-s", "wide", "--for", "2s"]);
        tell(&world, "fails");
        let address = world.first.address(family).to_string();
        let said = ["WARN", "not closed, trying again", &address];
        world.daemon.wait_for_lines(2, &said);
        // The rule is still there, and by its own end it lets nobody in.
        assert_eq!(world.rules().len(), 1);
        world.first.expect_shut_out(family);
        tell(&world, "works");
        world.wait_until_closed();
        world.expect_nothing_open();
    }
}

/// Its monitor is killed while it runs, another one starts, and only then it opens a grant that no monitor knows.
pub(crate) fn opening_by_an_orphan_is_closed(_: &'static str) {
    let mut world = world();
    tell(&world, "slow");
    world
        .first
        .knock("alice", Family::V4, &["-s", "wide", "--for", "10m"]);
    wait_until("the program to be at it", || {
        world.folder().join("asleep").exists()
    });
    world.kill();
    tell(&world, "works");
    world.start_again();
    assert_eq!(
        world.rules().len(),
        0,
        "the program was too quick, so this proves nothing"
    );
    let said = "another program changed the firewall; protection and 0 grants were restored";
    world.daemon.wait_for_lines(1, &["WARN", said]);
    world.expect_nothing_open();
    world.first.expect_shut_out(Family::V4);
}

pub(crate) fn failed_renewal_keeps_the_old_end(_: &'static str) {
    let world = world();
    world
        .first
        .knock("alice", Family::V4, &["-s", "wide", "--for", "5m"]);
    let before = world.wait_for_grants(1);
    tell(&world, "fails");
    world
        .first
        .knock("alice", Family::V4, &["-s", "wide", "--for", "30m"]);
    world.daemon.wait_for_count("refuse firewall", 1);
    assert_eq!(world.daemon.grants(), before);
    tell(&world, "works");
    postern_harness::world::checks::expect_ledger_and_kernel_agree(&world, "iptables");
    world.first.expect_let_in(Family::V4);
}

/// A service that the new config does not name is not open to everyone over the family that took the config.
pub(crate) fn half_done_reload_stays_hidden(_: &'static str) {
    let world = world();
    world
        .first
        .open("alice", Family::V4, &["-s", "wide", "--for", "10m"]);
    world.rewrite(&GateConfig::empty("iptables").user("alice", "services = [\"tcp/1\"]"));
    tell(&world, "six");
    let refused = world.daemon.at_gate(&world.gate, &["reload"]);
    assert!(!refused.status.success(), "{refused:?}");
    for family in FAMILIES {
        world.second.expect_shut_out(family);
    }
    world.first.expect_let_in(Family::V4);
    tell(&world, "works");
    let said = "an installation had failed; protection and 1 grants were restored";
    world.daemon.wait_for_lines(1, &["WARN", said]);
    world.at_gate(&["reload"]);
    world.second.expect_let_in(Family::V4);
}
