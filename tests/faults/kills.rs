//! `kill -9` at each step of a knock, from the first byte of its mark to the report. `gate/crashes.rs` kills at random moments.
//!
//! Before the mark can be on the disk the same bytes may still open, once; from then on never again. What the firewall has opened
//! outlives everyone, with its own end.

use rustix::process::Signal;

use crate::inject::{Injector, Of};
use postern_harness::world::checks::{
    USER, expect_ledger_and_kernel_agree, expect_opened_once, in_kernel, is_gone, kill, openings,
    wait_past,
};
use postern_harness::{FAMILIES, Family, GateConfig, SERVICE, World, wait_for};

/// Tries at a step before it counts as out of reach: the call may have been one that is no part of the knock.
const TRIES: u32 = 10;

fn world(backend: &str) -> World {
    World::start(&GateConfig::new(backend).user(
        USER,
        &format!("services = [\"tcp/{SERVICE}\"]\nquota = \"1000/min\""),
    ))
}

/// What is known of the knock whose step this was.
#[derive(Debug, PartialEq, Eq)]
enum Mark {
    /// Not on the disk, so the same bytes open.
    Missing,
    /// It may be there, for a process that is killed takes nothing out of the kernel's hands.
    Either,
    /// There.
    Durable,
}

/// Kills the engine where it makes this call for the first time after a knock has come.
fn engine_at(backend: &'static str, calls: &str, hit: &str, mark: &Mark) {
    let world = world(backend);
    for family in FAMILIES {
        let is_hit = (0..TRIES).any(|_| {
            let packet = world.first.packet(USER, family, &["--for", "2s"]);
            let (before, serves) = (
                openings(&world),
                world.daemon.logged(&["the engine serves"]).len(),
            );
            let injector = Injector::at(
                &world,
                world.daemon.engine(),
                Of::AllThreads,
                calls,
                "signal=KILL",
            );
            world.first.send(family, &packet);
            let log = injector.until_it_is_gone();
            world
                .daemon
                .wait_for_lines(serves + 1, &["the engine serves"]);
            assert_eq!(
                openings(&world),
                before,
                "{calls}: opened without its engine: {log}"
            );
            assert_eq!(in_kernel(&world, backend), [], "{calls}: {log}");
            let later = expect_opened_once(&world, family, &packet, 0);
            let is_hit = log.contains(hit);
            assert!(
                !is_hit || *mark == Mark::Either || later == (*mark == Mark::Missing),
                "{calls}: opened later: {later}: {log}"
            );
            expect_knocks_again(&world, backend, family);
            is_hit
        });
        assert!(is_hit, "the engine never was at {calls} {hit}");
    }
}

pub(crate) fn engine_killed_as_it_begins_to_write_a_mark_opens_nothing_and_the_knock_may_come_again(
    backend: &'static str,
) {
    engine_at(backend, "pwrite64", "pwrite64(", &Mark::Missing);
}

pub(crate) fn engine_killed_before_its_commit_is_synced_opens_nothing(backend: &'static str) {
    engine_at(backend, "fdatasync", "fdatasync(", &Mark::Either);
}

pub(crate) fn engine_killed_after_its_commit_and_before_its_order_opens_nothing_and_no_replay(
    backend: &'static str,
) {
    engine_at(backend, "sendmsg", r#"{\"open\":"#, &Mark::Durable);
}

/// The monitor takes what a dead engine has ordered, and reports to nobody.
pub(crate) fn engine_killed_after_its_order_leaves_one_door_with_an_end(backend: &'static str) {
    let world = world(backend);
    for family in FAMILIES {
        let packet = world.first.packet(USER, family, &["--for", "2s"]);
        let (before, serves) = (
            openings(&world),
            world.daemon.logged(&["the engine serves"]).len(),
        );
        world.daemon.signal(Signal::STOP);
        let engine = world.daemon.engine();
        let stored = last_stored(&world);
        world.first.send(family, &packet);
        // One thread gives the order and says that the mark is stored, in this sequence.
        wait_for("the order to be given", || {
            (last_stored(&world) != stored).then_some(())
        });
        kill(engine);
        wait_for("the engine to be gone", || is_gone(engine).then_some(()));
        world.daemon.signal(Signal::CONT);
        world
            .daemon
            .wait_for_lines(serves + 1, &["the engine serves"]);
        assert_eq!(
            openings(&world) - before,
            1,
            "an order that was given is carried out"
        );
        expect_opened_once(&world, family, &packet, 1);
        expect_knocks_again(&world, backend, family);
    }
}

/// When this engine last stored a mark.
fn last_stored(world: &World) -> Option<u64> {
    let told: serde_json::Value =
        serde_json::from_slice(&world.daemon.asked(&["status", "--json"]).stdout).unwrap();
    told["store"]["last"].as_u64()
}

/// Kills the monitor where it makes this call, with nobody left but the kernel.
fn monitor_at(backend: &'static str, calls: &str, what: &str, hit: &str, opened: usize) {
    let mut world = world(backend);
    for family in FAMILIES {
        let is_hit = (0..TRIES).any(|_| {
            let packet = world.first.packet(USER, family, &["--for", "2s"]);
            let engine = world.daemon.engine();
            let before = openings(&world);
            let injector = Injector::at(&world, world.daemon.pid(), Of::OneThread, calls, what);
            world.first.send(family, &packet);
            let log = injector.until_it_is_gone();
            world.daemon.wait();
            wait_for("the engine to go with its monitor", || {
                is_gone(engine).then_some(())
            });
            let is_hit = log.contains(hit);
            let openings = openings(&world) - before;
            assert!(!is_hit || openings == opened, "{openings} openings: {log}");
            // Nobody is there to end it but the kernel.
            let left = in_kernel(&world, backend);
            assert!(!is_hit || left.len() == opened, "{left:?}: {log}");
            wait_past(&left);
            world.first.expect_shut_out(family);
            world.start_again();
            let later = expect_opened_once(&world, family, &packet, openings);
            assert!(
                !is_hit || !later,
                "the mark was durable before the order: {log}"
            );
            expect_knocks_again(&world, backend, family);
            is_hit
        });
        assert!(is_hit, "the monitor never was at {calls} {hit}");
    }
}

pub(crate) fn monitor_killed_with_an_order_in_hand_opens_nothing_and_no_replay(
    backend: &'static str,
) {
    // The first takes the order, the second asks for more, and only then the firewall is driven.
    monitor_at(backend, "recvmsg", "signal=KILL:when=2", r#"{\"open\":"#, 0);
}

pub(crate) fn monitor_killed_after_opening_and_before_its_report_leaves_the_end_to_the_kernel(
    backend: &'static str,
) {
    monitor_at(backend, "sendmsg", "signal=KILL", r#"{\"opened\":"#, 1);
}

pub(crate) fn both_killed_after_the_report_leave_the_end_to_the_kernel_and_no_replay(
    backend: &'static str,
) {
    let mut world = world(backend);
    for family in FAMILIES {
        let packet = world.first.packet(USER, family, &["--for", "2s"]);
        let engine = world.daemon.engine();
        let done = world.daemon.logged(&["DEBUG", "done", USER]).len();
        world.first.send(family, &packet);
        world
            .daemon
            .wait_for_lines(done + 1, &["DEBUG", "done", USER]);
        kill(world.daemon.pid());
        kill(engine);
        world.daemon.wait();
        let left = in_kernel(&world, backend);
        assert_eq!(left.len(), 1);
        wait_past(&left);
        world.first.expect_shut_out(family);
        world.start_again();
        assert!(!expect_opened_once(&world, family, &packet, 1));
        expect_knocks_again(&world, backend, family);
    }
}

/// All is as before, without anybody's help: ledger and kernel agree, a knock opens, and its door ends.
fn expect_knocks_again(world: &World, backend: &'static str, family: Family) {
    expect_ledger_and_kernel_agree(world, backend);
    world.daemon.asked(&["close", "--all"]);
    world.first.expect_shut_out(family);
    world.first.knock(USER, family, &["--for", "2s"]);
    world.first.expect_let_in(family);
    wait_past(&world.daemon.grants());
    world.first.expect_shut_out(family);
    world.wait_until_closed();
}
