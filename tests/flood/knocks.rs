//! A hundred knocks among a flood, each by a run of the client and for an address of its own.

use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::Duration;

use crate::junk::{Flood, Kind};
use crate::process::{cpu, memory};
use crate::world::{Family, Plan, SERVICE, World};
use crate::{number, say};

/// What stands between the wire and the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sieve {
    /// What the kernel can do.
    Hints,
    /// The classic filter alone, for the right to load the other is not there.
    Classic,
}

const KNOCKS: u32 = 100;
/// What a gate may write to its log of junk, in bytes a second.
const LOG_GROWTH: f64 = 1024.0;
/// What the engine may need more after a flood than before it, in kB; a leak of one byte a packet would be more in a release build.
const MEMORY_GROWTH: u64 = 1024;

/// Alice may let in anybody, as often as she likes.
pub(crate) fn plan(backend: &str) -> Plan {
    Plan::empty(backend).quiet().user("alice", &format!("services = [\"tcp/{SERVICE}\"]\nquota = \"1000000/min\"\ngrant_to = \"claimed\""))
}

pub(crate) fn start(backend: &str, sieve: Sieve) -> World {
    let mut world = World::prepare(&plan(backend));
    if sieve == Sieve::Classic {
        world.daemon.through = Some("exec setpriv --bounding-set -bpf,-sys_admin \"$@\"".to_owned());
    }
    world.start_again();
    assert_eq!(world.daemon.status().hint_filter, sieve == Sieve::Hints, "{}", world.daemon.log());
    world
}

pub(crate) fn open(backend: &'static str, kind: Kind, sieve: Sieve) {
    let world = start(backend, sieve);
    // What is needed once is there before anything is measured.
    world.first.knock("alice", Family::V4, &["--for", "1s"]);
    world.first.expect_let_in(Family::V4);
    world.wait_until_closed();
    for round in 0..number("POSTERN_FLOODS", 1) {
        one(&world, backend, kind, sieve, u32::try_from(round).unwrap());
    }
}

fn one(world: &World, backend: &str, kind: Kind, sieve: Sieve, round: u32) {
    let engine = world.daemon.engine();
    let flood = Flood::start(&world.second, kind);
    // The flood has filled what it can fill.
    thread::sleep(Duration::from_millis(300));
    let (before, log, used, held) = (world.daemon.status(), world.daemon.log().len(), cpu(engine), memory(engine));
    let addresses: Vec<IpAddr> = (1..=KNOCKS).map(|n| IpAddr::from(Ipv4Addr::from_bits(0x0a80_0000 + (round << 8) + n))).collect();
    for address in &addresses {
        world.first.knock("alice", Family::V4, &["--allow", &address.to_string(), "--for", "60s"]);
    }
    // The flood outlasts the last knock.
    thread::sleep(Duration::from_millis(300));
    let (used, held_after) = (cpu(engine) - used, memory(engine));
    let (sent, took) = flood.end();
    let opened = || {
        let grants = world.daemon.grants();
        addresses.iter().filter(|address| grants.iter().any(|grant| grant.allow.addr() == **address)).count()
    };
    let after = world.daemon.status();
    let of = |status: &crate::world::Status| status.captures.iter().map(|capture| (capture.received, capture.dropped.unwrap_or_default())).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    let (received, lost) = (of(&after).0 - of(&before).0, of(&after).1 - of(&before).1);
    // Of each knock that opened one line is wanted.
    let lines: usize = world.daemon.log()[log..].lines().filter(|line| !line.contains("open: grant ")).map(|line| line.len() + 1).sum();
    let growth = lines as f64 / took.as_secs_f64();
    let count = opened();
    say(&format!(
        "{backend}, {sieve:?}, {kind:?}: {:.0} packets/s for {:.1} s, {received} read, {lost} lost; engine: {:.0} ns of CPU a packet sent, {:.0} ns a packet read, {held} to {held_after} kB; log {growth:.0} B/s; {count} of {KNOCKS} opened",
        sent as f64 / took.as_secs_f64(),
        took.as_secs_f64(),
        used.as_nanos() as f64 / sent as f64,
        used.as_nanos() as f64 / received as f64,
    ));
    assert_eq!(count, KNOCKS as usize, "{after:?}");
    assert!(growth < LOG_GROWTH, "{}", &world.daemon.log()[log..]);
    assert!(held_after <= held + MEMORY_GROWTH, "the engine grew from {held} to {held_after} kB");
    if sieve == Sieve::Hints && kind.dies_in_the_kernel() || kind == Kind::OtherPort {
        assert_eq!(received, u64::from(KNOCKS), "junk reached the engine");
    }
}
