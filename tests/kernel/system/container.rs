//! posternd as the only program of a container, and so its first process.

use std::fs;

use rustix::process::Signal;

use super::DRIVER;
use postern_harness::process::{children, signal};
use postern_harness::world::checks::kill;
use postern_harness::{Family, GateConfig, SERVICE, World, wait_until};

pub(crate) fn gate_runs_as_first_process() {
    let hook = "on_open = [\"/bin/sh\", \"-c\", \"for n in 1 2 3; do sleep 1 & done\"]";
    let plan = GateConfig::empty(DRIVER).section(&format!(
        "[service.hidden]\nports = [\"tcp/{SERVICE}\"]\n{hook}"
    ));
    let mut world = World::prepare(&plan.user("alice", "services = [\"hidden\"]"));
    world.daemon.through =
        Some("exec unshare --pid --fork --kill-child=KILL --mount-proc \"$@\"".to_owned());
    world.start_again();
    let posternd = children(world.daemon.pid())[0];
    assert!(
        fs::read_to_string(format!("/proc/{posternd}/status"))
            .unwrap()
            .lines()
            .any(|line| line.starts_with("NSpid:") && line.ends_with("\t1"))
    );
    world
        .first
        .knock("alice", Family::V4, &["-s", "hidden", "--for", "10m"]);
    world.first.expect_let_in(Family::V4);
    wait_until("the hook's children to be handed over", || {
        children(posternd).len() == 4
    });
    wait_until("the engine to be the only child again", || {
        children(posternd).len() == 1
    });
    // The engine is still its own to wait for.
    let engine = children(posternd)[0];
    kill(engine);
    world
        .daemon
        .wait_for_lines(1, &["the engine ended: signal: 9"]);
    world.daemon.wait_for_lines(2, &["the engine serves"]);

    signal(posternd, Signal::TERM);
    assert_eq!(world.daemon.wait().code(), Some(0));
    world
        .daemon
        .wait_for_lines(1, &["stopped; the protection stays"]);
}
