//! A hundred knocks among a flood, each by a run of the client and for an address of its own.

use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::{Duration, Instant};

use super::junk::{Flood, HIT, Kind};
use postern_harness::process::{memory, processor_time};
use postern_harness::{Family, GateConfig, World, number, say};

/// What filters packets before the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prefilter {
    /// What the kernel can do.
    Hints,
    /// The classic filter alone, because the right to load the other is missing.
    Classic,
    /// The firewall's rule: NFLOG in place of a packet socket.
    Nflog,
}

const KNOCKS: u32 = 100;
/// From one knock to the next, so that the clients do not take the processor from the gate.
const APART: Duration = Duration::from_millis(30);
/// What a gate may write to its log of junk, in bytes a second.
const LOG_GROWTH: f64 = 1024.0;
/// What the engine may need more after a flood than before it, in kB; a leak of one byte a packet would be more in a release build.
const MEMORY_GROWTH: u64 = 1024;

/// Wrong macs come under the hint of the first. The knocks of neither may be lost to them.
const USERS: [&str; 2] = ["alice", "bob"];

/// The users may let in anybody, as often as they like.
pub(crate) fn plan(backend: &str) -> GateConfig {
    let terms = "quota = \"1000000/min\"\nmax_grants = 16384\ngrant_to = \"claimed\"";
    let plan = GateConfig::empty(backend).quiet();
    USERS
        .iter()
        .fold(plan, |plan, user| plan.member(user, terms))
}

/// With a sequence, too.
fn plan_with_hits(backend: &str) -> GateConfig {
    let sequence = format!("sequence = [\"udp/{HIT}\", \"udp/8000\"]\nservices = [\"tcp/80\"]");
    plan(backend).user_with("carol", &sequence)
}

pub(crate) fn start(plan: GateConfig, prefilter: Prefilter) -> World {
    let plan = match prefilter {
        Prefilter::Nflog => plan.gate("capture = { nflog = 5 }"),
        Prefilter::Hints | Prefilter::Classic => plan,
    };
    let mut world = World::prepare(&plan);
    if prefilter == Prefilter::Classic {
        world.daemon.through =
            Some("exec setpriv --bounding-set -bpf,-sys_admin \"$@\"".to_owned());
    }
    world.start_again();
    assert_eq!(
        world.daemon.status().hint_filter,
        prefilter == Prefilter::Hints,
        "{}",
        world.daemon.log()
    );
    world
}

pub(crate) fn open(backend: &'static str, family: Family, kind: Kind, prefilter: Prefilter) {
    let plan = if kind == Kind::Hit {
        plan_with_hits(backend)
    } else {
        plan(backend)
    };
    let world = start(plan, prefilter);
    // Allocate everything that is needed once before the measurement.
    world.first.open("alice", Family::V4, &["--for", "1s"]);
    world.wait_until_closed();
    for round in 0..number("POSTERN_FLOODS", 1) {
        one(&world, backend, (family, kind), prefilter, round);
    }
}

fn one(
    world: &World,
    backend: &str,
    (family, kind): (Family, Kind),
    prefilter: Prefilter,
    round: u32,
) {
    let engine = world.daemon.engine();
    let flood = Flood::start(&world.second, family, kind);
    // The flood has filled what it can fill.
    thread::sleep(Duration::from_millis(300));
    let before = Moment::of(world, engine, &flood);
    let addresses: Vec<IpAddr> = (1..=KNOCKS)
        .map(|n| IpAddr::from(Ipv4Addr::from_bits(0x0a80_0000 + (round << 8) + n)))
        .collect();
    for (n, address) in (0..).zip(&addresses) {
        world.first.knock(
            USERS[n as usize % USERS.len()],
            Family::V4,
            &["--allow", &address.to_string(), "--for", "60s"],
        );
        thread::sleep((before.at + n * APART).saturating_duration_since(Instant::now()));
    }
    // The flood outlasts the last knock.
    thread::sleep(Duration::from_millis(300));
    let after = Moment::of(world, engine, &flood);
    flood.end();
    let opened = || {
        let grants = world.daemon.grants();
        addresses
            .iter()
            .filter(|address| grants.iter().any(|grant| grant.allow.addr() == **address))
            .count()
    };
    // An admitted knock opens soon, a lost one never.
    let deadline = Instant::now() + Duration::from_secs(30);
    while opened() < addresses.len() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
    }
    let count = opened();
    let took = (after.at - before.at).as_secs_f64();
    let (sent, received) = (after.sent - before.sent, after.received - before.received);
    // Of each knock that opened a line for the opening and one for the end are wanted.
    let log = world.daemon.log();
    let unwanted: Vec<&str> = log[before.log..after.log]
        .lines()
        .filter(|line| !line.contains(": grant "))
        .collect();
    let growth = unwanted.iter().map(|line| line.len() + 1).sum::<usize>() as f64 / took;
    say(&format!(
        "{backend}, {prefilter:?}, {family:?}, {kind:?}: {:.0} packets/s, {received} read, {} lost; the engine worked {:?}; {} to {} kB; log {growth:.0} B/s",
        sent as f64 / took,
        after.lost - before.lost,
        after.used - before.used,
        before.held,
        after.held,
    ));
    assert_eq!(
        count,
        KNOCKS as usize,
        "of {KNOCKS} knocks: {:?}",
        world.daemon.status()
    );
    assert!(growth < LOG_GROWTH, "{unwanted:?}");
    assert!(
        after.held <= before.held + MEMORY_GROWTH,
        "the engine grew from {} to {} kB",
        before.held,
        after.held
    );
    if kind.dies_in_the_kernel(prefilter == Prefilter::Hints) {
        assert_eq!(received, u64::from(KNOCKS), "junk reached the engine");
    }
}

/// The observed state at one moment.
struct Moment {
    at: Instant,
    sent: u64,
    received: u64,
    lost: u64,
    held: u64,
    used: Duration,
    log: usize,
}

impl Moment {
    fn of(world: &World, engine: u32, flood: &Flood) -> Self {
        let captures = world.daemon.status().captures;
        let (at, sent) = (Instant::now(), flood.sent());
        let received = captures.iter().map(|capture| capture.received).sum();
        let lost = captures.iter().filter_map(|capture| capture.dropped).sum();
        Self {
            at,
            sent,
            received,
            lost,
            held: memory(engine),
            used: processor_time(engine),
            log: world.daemon.log().len(),
        }
    }
}
