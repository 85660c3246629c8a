//! `kill -9` at each step of a knock, from writing its mark to the report.
//!
//! Before the mark is written, the same packet may still open once. Afterwards it never opens again. A grant in the firewall keeps its
//! end, even if both processes die.

use super::inject::Injector;
use super::plan;
use postern_harness::world::checks::{
    USER, expect_ledger_and_kernel_agree, expect_opened_once, in_kernel, is_gone, kill, openings,
    wait_past,
};
use postern_harness::{FAMILIES, Family, KnockMaker, SERVICE, World, wait_until};
use rustix::process::{Pid, Signal, kill_process};

const TRIES: u32 = 10;

fn world(backend: &str) -> World {
    World::start(&plan(backend))
}

#[derive(Debug, PartialEq, Eq)]
enum Mark {
    /// It is not, so the same packet opens.
    Missing,
    /// It may be, because the kernel keeps what was written.
    Either,
    /// It is.
    Durable,
}

fn engine_at(backend: &'static str, calls: &str, hit: &str, mark: &Mark) {
    let send = |world: &World, family, packet: &[u8]| world.first.send(family, packet);
    engine_at_when(backend, calls, hit, mark, send);
}

fn engine_at_when(
    backend: &'static str,
    calls: &str,
    hit: &str,
    mark: &Mark,
    send: impl Fn(&World, Family, &[u8]),
) {
    let world = world(backend);
    for family in FAMILIES {
        let is_hit = (0..TRIES).any(|_| {
            let packet = world.first.packet(USER, family, &["--for", "2s"]);
            let (before, serves) = (
                openings(&world),
                world.daemon.logged(&["the engine serves"]).len(),
            );
            let injector = Injector::engine(&world, calls, "signal=KILL");
            send(&world, family, &packet);
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

pub(crate) fn engine_killed_before_its_write_opens_nothing(backend: &'static str) {
    engine_at(backend, "pwrite64", "pwrite64(", &Mark::Missing);
}

pub(crate) fn engine_killed_before_its_sync_opens_nothing(backend: &'static str) {
    engine_at(backend, "fdatasync", "fdatasync(", &Mark::Either);
}

pub(crate) fn engine_killed_at_its_announcement_opens_nothing(backend: &'static str) {
    engine_at(backend, "sendto", r#"{\"announced\":"#, &Mark::Either);
}

/// Orders of two knocks at once are not announced.
pub(crate) fn engine_killed_before_its_order_opens_nothing(backend: &'static str) {
    let hit = r#"{\"open\":"#;
    let send = |world: &World, family, packet: &[u8]| {
        let engine = Pid::from_raw(world.daemon.engine().cast_signed()).unwrap();
        kill_process(engine, Signal::STOP).unwrap();
        let other = KnockMaker::new(USER).open([10, 78, 0, 1].into(), SERVICE, 2);
        world.first.send(family, packet);
        world.first.send(family, &other);
        kill_process(engine, Signal::CONT).unwrap();
    };
    engine_at_when(backend, "sendto", hit, &Mark::Durable, send);
}

fn monitor_at(backend: &'static str, calls: &str, what: &str, hit: &str, opened: usize) {
    let mut world = world(backend);
    for family in FAMILIES {
        let mut last = String::new();
        let is_hit = (0..TRIES).any(|_| {
            let packet = world.first.packet(USER, family, &["--for", "2s"]);
            let engine = world.daemon.engine();
            let before = openings(&world);
            let injector = Injector::monitor(&world, calls, what);
            world.first.send(family, &packet);
            let log = injector.until_it_is_gone();
            world.daemon.wait();
            wait_until("the engine to go with its monitor", || is_gone(engine));
            let is_hit = log.contains(hit);
            last.clone_from(&log);
            let openings = openings(&world) - before;
            assert!(!is_hit || openings == opened, "{openings} openings: {log}");
            // Only the kernel can end it.
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
        assert!(is_hit, "the monitor never was at {calls} {hit}: {last}");
    }
}

pub(crate) fn monitor_killed_before_opening_opens_nothing(backend: &'static str) {
    // An element for the kernel has the user's name in its comment. strace shows the bytes of netlink.
    let name: String = USER.bytes().map(|byte| format!(r"\x{byte:02x}")).collect();
    monitor_at(backend, "sendto", "signal=KILL", &name, 0);
}

pub(crate) fn kernel_ends_grant_of_a_killed_monitor(backend: &'static str) {
    monitor_at(backend, "sendmsg", "signal=KILL", r#"{\"opened\":"#, 1);
}

pub(crate) fn kernel_ends_grant_when_both_are_killed(backend: &'static str) {
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

fn expect_knocks_again(world: &World, backend: &'static str, family: Family) {
    expect_ledger_and_kernel_agree(world, backend);
    world.daemon.asked(&["close", "--all"]);
    world.first.expect_shut_out(family);
    world.first.open(USER, family, &["--for", "2s"]);
    wait_past(&world.daemon.grants());
    world.first.expect_shut_out(family);
    world.wait_until_closed();
}
