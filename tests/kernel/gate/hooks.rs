//! Hooks of services in a real world: programs that run beside the gate and never delay it.

use std::fs;

use postern_harness::{Family, GateConfig, SERVICE, World, now, wait_until};

/// Writes a line when it begins and one when it ends; hangs in between while there is a file `hang`.
const HOOK: &str = r#"#!/bin/sh
folder=$1; shift
echo "$*" >>"$folder/ran"
while [ -e "$folder/hang" ]; do sleep 0.1; done
echo "told $1"
"#;

fn world(backend: &str) -> World {
    let mut world = World::prepare(&GateConfig::new(backend));
    let here = world.folder().display().to_string();
    world.install("hook", HOOK);
    let hook = |which: &str| {
        format!(
            "{which} = [\"{here}/hook\", \"{here}\", \"{which}\", \"{{user}}\", \"{{address}}\", \"{{service}}\"]\n"
        )
    };
    let lines = format!(
        "ports = [\"tcp/{SERVICE}\"]\n{}{}",
        hook("on_open"),
        hook("on_close")
    );
    world.rewrite(&GateConfig::new(backend).section(&format!("[service.hidden]\n{lines}")));
    world.start_again();
    world
}

pub(crate) fn hooks_run_at_opening_and_end(backend: &'static str) {
    let world = world(backend);
    world.first.knock("alice", Family::V4, &["-s", "tcp/23"]);
    world.daemon.wait_for_count("refuse services", 1);
    world.first.knock("alice", Family::V4, &["--for", "2s"]);
    let both = ["on_open", "on_close"].map(|hook| format!("{hook} alice 10.77.0.2 tcp/{SERVICE}"));
    assert_eq!(world.wait_for_lines_in("ran", 2), both);
    world
        .daemon
        .wait_for_lines(1, &["DEBUG", "on_close of hidden ran", "told on_close"]);
}

pub(crate) fn hanging_hook_delays_nothing(backend: &'static str) {
    let world = world(backend);
    fs::write(world.folder().join("hang"), "").unwrap();
    world.first.open("alice", Family::V4, &["--for", "10m"]);
    world.wait_for_lines_in("ran", 1);
    world.first.open("alice", Family::V6, &["--for", "10m"]);
    world.daemon.asked(&["close", "--all"]);
    world.first.expect_both_shut_out();
    // All that happened while the first hook hung: it was not killed yet, and the second one waits behind it.
    assert_eq!(world.wait_for_lines_in("ran", 1).len(), 1);
    world.daemon.expect_logged(0, &["on_open of hidden failed"]);
    fs::remove_file(world.folder().join("hang")).unwrap();
    let ran = world.wait_for_lines_in("ran", 4);
    let closed = ran.iter().filter(|line| line.starts_with("on_close"));
    assert_eq!(closed.count(), 2);
}

pub(crate) fn on_close_runs_after_a_kill(backend: &'static str) {
    let mut world = world(backend);
    world.first.knock("alice", Family::V4, &["--for", "2s"]);
    world.first.knock("alice", Family::V6, &["--for", "10m"]);
    let end = world.wait_for_grants(2)[0].until;
    world.wait_for_lines_in("ran", 2);
    world.kill();
    wait_until("the first grant's end", || now() > end);
    world.start_again();
    assert_eq!(
        world.wait_for_lines_in("ran", 3)[2..],
        [format!("on_close alice 10.77.0.2 tcp/{SERVICE}")]
    );
    world.second.expect_both_shut_out();
    world.daemon.asked(&["close", "--all"]);
    assert_eq!(
        world.wait_for_lines_in("ran", 4)[3..],
        [format!("on_close alice fd77::2 tcp/{SERVICE}")]
    );
}
