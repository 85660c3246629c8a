//! How often a gate wakes up that nobody knocks at.

use std::fs;
use std::time::{Duration, Instant};

use postern_harness::{World, wait_until};

use super::plan;

/// The monitor looks at the firewall once a second.
const CHECKS: u64 = 6;
const TIME_MIN: Duration = Duration::from_secs(4);
/// The monitor asks the engine every five seconds. The rest is left over from the start.
const ENGINE_MOST: u64 = 10;

/// How often the threads of a process have begun to wait.
fn waits(pid: u32) -> u64 {
    let of_task = |task: std::io::Result<fs::DirEntry>| {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let (_, count) = status.split_once("\nvoluntary_ctxt_switches:").unwrap();
        let count = count.lines().next().unwrap();
        count.trim().parse::<u64>().unwrap()
    };
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.map(of_task).sum()
}

pub(crate) fn gate_without_knocks_rarely_wakes(backend: &'static str) {
    let world = World::start(&plan(backend).quiet());
    let [monitor, engine] = [world.daemon.pid(), world.daemon.engine()];
    let (start, before) = (Instant::now(), [monitor, engine].map(waits));
    wait_until("some wake-ups of the monitor", || {
        waits(monitor) >= before[0] + CHECKS
    });
    let took = start.elapsed();
    assert!(took >= TIME_MIN, "{CHECKS} wake-ups in {took:?}");
    let woken = waits(engine) - before[1];
    assert!(
        woken <= ENGINE_MOST,
        "the engine woke {woken} times in {took:?}"
    );
}
