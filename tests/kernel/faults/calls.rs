//! How many system calls the processes of a gate make for a knock: a count does not depend on the load, as a time does.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use postern_harness::world::checks::USER;
use postern_harness::{
    Family, GateConfig, KnockMaker, SERVICE, World, find, say, wait_for, wait_until,
};
use rustix::process::{Pid, Signal, kill_process};

/// Calls of engine and monitor, and of programs that they might run, from the packet until the monitor waits again. Lower them
/// with the work; a knock that costs more needs a reason.
const NFTABLES_MOST: usize = 32;
const IPTABLES_MOST: usize = 36;
/// The least of so many counts, because both processes also wake up by themselves.
const KNOCKS: u8 = 9;

pub(crate) fn knock_makes_few_system_calls(backend: &'static str) {
    let plan = GateConfig::empty(backend).quiet();
    let world = World::start(&plan.member(USER, "quota = \"1000/min\"\nmax_grants = 100"));
    let log = world.folder().join("calls");
    let [monitor, engine] = [world.daemon.pid(), world.daemon.engine()].map(|pid| pid.to_string());
    let mut strace = Command::new(find("strace").unwrap())
        .args(["-f", "-s", "64", "-p", &monitor, "-p", &engine, "-o"])
        .arg(&log)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    wait_until("calls of both processes", || {
        let lines = lines();
        [&monitor, &engine]
            .iter()
            .all(|pid| lines.iter().any(|line| line.starts_with(pid.as_str())))
    });
    let maker = KnockMaker::new(USER);
    let of_knock = |number: u8| {
        let before = lines().len();
        let allow = [10, 78, 0, number].into();
        let packet = maker.open(allow, SERVICE, 60);
        world.first.send(Family::V4, &packet);
        let lines = wait_for("the end of a knock", || {
            let mut lines = lines().split_off(before);
            let logged = lines
                .iter()
                .position(|line| line.contains("INFO open: grant"))?;
            // strace pads short process ids
            let waits = |line: &String| {
                let mut words = line.split_whitespace();
                words.next() == Some(&monitor)
                    && words.next().is_some_and(|call| call.starts_with("ppoll("))
            };
            let end = lines.iter().skip(logged).position(waits)?;
            lines.truncate(logged + end);
            Some(lines)
        });
        names(&lines)
    };
    let least = (1..=KNOCKS).map(of_knock).min_by_key(count).unwrap();
    let _ = kill_process(Pid::from_child(&strace), Signal::TERM);
    strace.wait().unwrap();
    let text = format!(
        "{backend}: {} system calls a knock: {least:?}",
        count(&least)
    );
    say(&text);
    let most = if backend == "nftables" {
        NFTABLES_MOST
    } else {
        IPTABLES_MOST
    };
    assert!(count(&least) <= most, "more than {most}: {text}");
}

/// Without those of locks between the engine's threads, which depend on who is faster.
fn count(names: &BTreeMap<String, usize>) -> usize {
    let counted = names.iter().filter(|(name, _)| *name != "futex");
    counted.map(|(_, count)| count).sum()
}

/// How often each call was begun.
fn names(lines: &[String]) -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    for line in lines {
        let Some((name, _)) = line.split_once('(') else {
            continue;
        };
        let name = name.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
        if !name.contains(' ') {
            *names.entry(name.to_owned()).or_default() += 1;
        }
    }
    names
}
