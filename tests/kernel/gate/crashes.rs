//! Processes that are killed at any moment: no grant outlives its time, none that was reported is lost, what was admitted is not
//! admitted again, and knocks work again without help.
//!
//! `POSTERN_MOMENTS` says how many moments for each firewall driver, `POSTERN_LOAD` how many other knocks a second meanwhile.

use std::thread;
use std::time::Duration;

use postern::model::grant::Grant;

use postern_harness::world::checks::*;
use postern_harness::world::{KnockStream, with_crowd};
use postern_harness::{
    FAMILIES, Family, GateConfig, Random, SERVICE, World, now, number, wait_until,
};

/// What the knocks of these moments ask for.
const OPEN_FOR: Duration = Duration::from_secs(2);

/// Knocks until one must have let somebody in.
const TRIES: u32 = 5;

/// Moments for each firewall driver, which four runs share.
const MOMENTS: u32 = 20;
const RUNS: u32 = 4;

pub(crate) fn random_kills_first_run(backend: &'static str) {
    moments(backend, 1);
}

pub(crate) fn random_kills_second_run(backend: &'static str) {
    moments(backend, 2);
}

pub(crate) fn random_kills_third_run(backend: &'static str) {
    moments(backend, 3);
}

pub(crate) fn random_kills_fourth_run(backend: &'static str) {
    moments(backend, 4);
}

fn moments(backend: &'static str, seed: u64) {
    let plan = GateConfig::new(backend).member(USER, "quota = \"1000000/min\"\nmax_grants = 32768");
    let mut world = World::start(&with_crowd(plan));
    let stream = KnockStream::start(&world, number("POSTERN_LOAD", 0));
    let mut dice = Random(seed * 7919);
    for _ in 0..number("POSTERN_MOMENTS", MOMENTS).div_ceil(RUNS) {
        one_moment(&mut world, backend, &stream, &mut dice);
    }
}

/// One knock, and a kill at some moment around it.
fn one_moment(world: &mut World, backend: &'static str, stream: &KnockStream, dice: &mut Random) {
    let family = FAMILIES[usize::from(dice.below(2) == 0)];
    let packet = world.first.packet(USER, family, &["--for", "2s"]);
    let victims = ["engine", "monitor", "both"][usize::try_from(dice.below(3)).unwrap()];
    // Half of the moments are so near that the knock is under way.
    let (earliest, span) = if dice.below(2) == 0 {
        (-50, 200)
    } else {
        (-3, 20)
    };
    let gap = i64::try_from(dice.below(span)).unwrap() + earliest;
    let is_late = dice.below(2) == 0;
    let (monitor, engine) = (world.daemon.pid(), world.daemon.engine());
    let serves = world.daemon.logged(&["the engine serves"]).len();
    stream.flow();
    let before = openings(world);
    thread::scope(|scope| {
        scope.spawn(|| {
            pause(gap);
            if victims != "monitor" {
                kill(engine);
            }
            if victims != "engine" {
                kill(monitor);
            }
        });
        pause(-gap);
        world.first.send(family, &packet);
    });
    let (reported, openings) = if victims == "engine" {
        world
            .daemon
            .wait_for_lines(serves + 1, &["the engine serves"]);
        (opened(world), openings(world) - before)
    } else {
        world.daemon.wait();
        let died = now();
        wait_until("the engine to go with its monitor", || is_gone(engine));
        let reported = (opened(world), openings(world) - before);
        if is_late {
            // Nobody is there to end it but the kernel. A firewall program that the monitor had started may still run, so
            // the list may be incomplete; but each grant from before the monitor's death ends by this time.
            thread::sleep(died.plus(OPEN_FOR).plus(LATE).since(now()));
            world.first.expect_shut_out(family);
        }
        world.start_again();
        reported
    };
    let _held = stream.hold();
    expect_ledger_and_kernel_agree(world, backend);
    let grants = world.daemon.grants();
    let soon = now().plus(Duration::from_millis(100));
    for (id, Opened { until, .. }) in reported.into_iter().filter(|(_, it)| it.until > soon) {
        let is_kept = |grant: &Grant| grant.id == id && grant.until == until;
        assert!(
            grants.iter().any(is_kept),
            "{victims} {gap}: grant {id} was reported and is lost: {grants:?}"
        );
    }
    expect_opened_once(world, family, &packet, openings);
    expect_a_knock_opens(world, family);
    wait_past(&world.daemon.grants());
    world.first.expect_shut_out(family);
    world.wait_until_closed();
    expect_ledger_and_kernel_agree(world, backend);
}

/// Knocks until somebody gets in. If the machine is too busy for as long as a grant, that needs another knock, though each
/// opens.
fn expect_a_knock_opens(world: &World, family: Family) {
    let is_let_in = || world.first.connect(family, SERVICE).is_ok();
    for _ in 0..TRIES {
        if is_let_in() {
            return;
        }
        let before = openings(world);
        world.first.knock(USER, family, &["--for", "2s"]);
        wait_until("the knock to open", || openings(world) > before);
    }
    assert!(is_let_in(), "{TRIES} knocks opened, and nobody is let in");
}

fn pause(millis: i64) {
    let millis = u64::try_from(millis).unwrap_or_default();
    thread::sleep(Duration::from_millis(millis));
}
