//! After a long flood with knocks, listings and reloads, neither process holds more memory or descriptors.

use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::junk::{Flood, Kind};
use super::knocks::{Prefilter, plan, start};
use postern_harness::process::{descriptors, memory};
use postern_harness::{FAMILIES, Family, World, number, say, wait_for, wait_until};

/// The default duration. Long enough for every kind of flood.
const SECONDS: u32 = 10;
/// One turn of a flood.
const TURN: Duration = Duration::from_secs(1);
/// What a process may have grown by from the first half to the second, in kB.
const GROWTH: u64 = 1024;

/// What one process holds at the end of a turn.
#[derive(Debug, Clone, Copy)]
struct Held {
    memory: u64,
    descriptors: usize,
}

pub(crate) fn nothing_grows(backend: &'static str) {
    let world = start(plan(backend), Prefilter::Hints);
    let monitor = world.daemon.pid();
    let all = Duration::from_secs(number("POSTERN_SOAK", SECONDS).into());
    let (began, mut turns, mut sent) = (Instant::now(), 0_u32, 0);
    let mut held: Vec<[Held; 2]> = Vec::new();
    // The first rounds fill what is filled once: quotas, marks of a window, the log's buffers.
    while began.elapsed() < all || held.len() < 2 * Kind::ALL.len() {
        let kind = Kind::ALL[turns as usize % Kind::ALL.len()];
        sent += turn(&world, kind, turns);
        // An engine that has served for a turn: one that only starts has not opened all yet.
        let engine = world.daemon.engine();
        held.push([monitor, engine].map(|pid| Held {
            memory: memory(pid),
            descriptors: descriptors_at_rest(pid),
        }));
        if turns as usize % Kind::ALL.len() == Kind::ALL.len() - 1 {
            reload(&world);
        }
        turns += 1;
    }
    let (first, second) = held.split_at(held.len() / 2);
    for (at, who) in ["monitor", "engine"].into_iter().enumerate() {
        let most = |part: &[[Held; 2]]| part.iter().map(|turn| turn[at].memory).max().unwrap();
        let open = |part: &[[Held; 2]]| part.iter().map(|turn| turn[at].descriptors).min().unwrap();
        say(&format!(
            "{backend}, {who}: {turns} turns, {sent} packets in {:.0} s; most memory {} kB in the first half, {} kB in the second; fewest descriptors {} and {}",
            began.elapsed().as_secs_f64(),
            most(first),
            most(second),
            open(first),
            open(second)
        ));
        assert!(
            most(second) <= most(first) + GROWTH,
            "the {who} grows: {held:?}"
        );
        assert!(
            open(second) <= open(first),
            "the {who} leaves descriptors open: {held:?}"
        );
    }
    world.wait_until_closed();
    world.expect_nothing_open();
    let unexpected: Vec<String> = world
        .daemon
        .logged(&["WARN"])
        .into_iter()
        .chain(world.daemon.logged(&["ERROR"]))
        .collect();
    assert_eq!(unexpected, [""; 0]);
}

/// The fewest of many counts: while a program of the firewall runs, its pipes are open too.
fn descriptors_at_rest(pid: u32) -> usize {
    let count = |_| {
        thread::sleep(Duration::from_millis(10));
        descriptors(pid)
    };
    (0..25).map(count).min().unwrap()
}

/// A flood of one kind, with knocks that open, are listed, and let a connection in meanwhile.
fn turn(world: &World, kind: Kind, turn: u32) -> u64 {
    let flood = Flood::start(&world.second, Family::V4, kind);
    let began = Instant::now();
    let mut knocks = 0;
    while began.elapsed() < TURN {
        let allow = IpAddr::from(Ipv4Addr::from_bits(
            0x0a90_0000 + (turn << 8) + knocks % 256,
        ));
        world.first.knock(
            "alice",
            Family::V4,
            &["--allow", &allow.to_string(), "--for", "1s"],
        );
        knocks += 1;
        wait_for("the grant to be logged", || {
            let grants = world.daemon.grants();
            let said = world.daemon.log();
            (grants.iter().any(|grant| grant.allow.addr() == allow)
                || said.contains(&format!(" {allow}/32")))
            .then_some(())
        });
    }
    for family in FAMILIES {
        world.first.open("alice", family, &["--for", "2s"]);
    }
    flood.end()
}

fn reload(world: &World) {
    let (before, held) = (world.daemon.engine(), descriptors(world.daemon.pid()));
    world.daemon.signal(Signal::HUP);
    wait_until("the engine that follows", || {
        world.daemon.engine() != before
    });
    // Both are there for a moment.
    wait_until("all of the engine before to be let go", || {
        descriptors(world.daemon.pid()) <= held
    });
}
