//! Too little memory, by limits on address space: a process that gets none ends with a reason, the protection stays, and the next one
//! serves.

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::crashes::{USER, expect_ledger_and_kernel_agree, expect_opened_once, in_kernel, is_gone, openings, wait_past};
use crate::world::{FAMILIES, Family, Plan, SERVICE, World, wait_for};

fn plan(backend: &str) -> Plan {
    Plan::new(backend).user(USER, &format!("services = [\"tcp/{SERVICE}\"]\nquota = \"1000/min\""))
}

/// From next to nothing to enough: it serves, or it ends and has said why.
pub(crate) fn start_with_little_memory_serves_or_ends_with_a_reason(backend: &'static str) {
    let mut world = World::prepare(&plan(backend));
    let (mut served, mut ended) = (0, 0);
    for mebibytes in [2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024] {
        world.daemon.through = Some(format!("ulimit -v {} && exec \"$@\"", mebibytes << 10));
        world.daemon.start_process(&world.gate);
        let serves = wait_for("it to serve or to end", || {
            let serves = !world.daemon.logged(&["the engine serves"]).is_empty();
            (serves || is_gone_or_zombie(world.daemon.pid())).then_some(serves)
        });
        if serves {
            served += 1;
            world.first.knock(USER, Family::V4, &["--for", "2s"]);
            // It may not have what a knock takes, and then it says so and an engine follows.
            wait_for("a verdict", || {
                let over = !world.daemon.logged(&["the engine ended"]).is_empty() || is_gone_or_zombie(world.daemon.pid());
                (openings(&world) == 1 || over).then_some(())
            });
            world.daemon.stop();
        } else {
            ended += 1;
            let status = world.daemon.wait();
            assert!(!status.success() && !world.daemon.log().trim().is_empty(), "{mebibytes} MiB: {status}, {:?}", world.daemon.log());
            let log = world.daemon.log();
            assert!(!log.contains("panicked"), "{mebibytes} MiB: {log}");
        }
    }
    assert!(served > 0 && ended > 0, "{served} served, {ended} ended");
}

fn is_gone_or_zombie(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.rsplit(')').next().unwrap().trim().starts_with('Z'))
}

/// Not one page more than it has.
fn starve(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    for resource in [Resource::As, Resource::Data] {
        prlimit(Some(pid), resource, Rlimit { current: Some(0), maximum: Some(0) }).unwrap();
    }
}

pub(crate) fn engine_that_gets_no_more_memory_opens_only_what_is_durable_and_another_one_follows(backend: &'static str) {
    let world = World::start(&plan(backend));
    world.first.knock("alice", Family::V6, &["--for", "10m"]);
    world.first.expect_let_in(Family::V6);
    let engine = world.daemon.engine();
    starve(engine);
    let mut sent = Vec::new();
    for round in 0..200 {
        if is_gone(engine) {
            break;
        }
        let packet = world.first.packet(USER, Family::V4, &["--for", "2s"]);
        let before = openings(&world);
        world.first.send(Family::V4, &packet);
        sent.push((packet, before));
        let _ = world.daemon.ask(&["status"]);
        let _ = world.daemon.ask(&["grants"]);
        assert!(round < 199 || !is_gone(engine), "unreachable");
    }
    // Whether that was enough to end it is its own affair; then it has what it needs and no more.
    if !is_gone(engine) {
        crate::crashes::kill(engine);
    }
    world.daemon.wait_for_lines(2, &["the engine serves"]);
    world.first.expect_let_in(Family::V6);
    for (packet, _) in sent.iter().rev().take(3) {
        let _ = expect_opened_once(&world, Family::V4, packet, 0);
    }
    expect_ledger_and_kernel_agree(&world, backend);
    world.first.knock(USER, Family::V4, &["--for", "2s"]);
    world.first.expect_let_in(Family::V4);
}

pub(crate) fn monitor_that_gets_no_more_memory_leaves_protection_and_ends_to_the_kernel(backend: &'static str) {
    let mut world = World::start(&plan(backend));
    for family in FAMILIES {
        let engine = world.daemon.engine();
        starve(world.daemon.pid());
        let packet = world.first.packet(USER, family, &["--for", "2s"]);
        world.first.send(family, &packet);
        // A list of thousands would not fit either, but a knock is what comes.
        wait_for("a verdict, or the monitor's end", || {
            let refused = !world.daemon.logged(&["WARN", USER, "not open"]).is_empty();
            (openings(&world) > 0 || refused || is_gone_or_zombie(world.daemon.pid())).then_some(())
        });
        let opened = openings(&world);
        crate::crashes::kill(world.daemon.pid());
        world.daemon.wait();
        wait_for("the engine to go with its monitor", || is_gone(engine).then_some(()));
        let left = in_kernel(&world, backend);
        assert!(left.len() <= 1, "{left:?}");
        wait_past(&left);
        world.first.expect_shut_out(family);
        world.second.expect_shut_out(family);
        world.start_again();
        expect_opened_once(&world, family, &packet, opened);
        world.first.knock(USER, family, &["--for", "2s"]);
        world.first.expect_let_in(family);
        wait_past(&world.daemon.grants());
        world.first.expect_shut_out(family);
    }
}
