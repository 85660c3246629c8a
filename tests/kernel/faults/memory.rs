//! Too little memory: a process without memory ends with a reason, the protection stays, and the next process serves.

use super::inject::Injector;
use super::plan;
use postern_harness::process::own_memory;
use postern_harness::world::checks::{
    USER, expect_ledger_and_kernel_agree, expect_opened_once, in_kernel, is_gone, kill, openings,
    wait_past,
};
use postern_harness::{FAMILIES, Family, GateConfig, SERVICE, World, key, wait_for, wait_until};

fn is_gone_or_zombie(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| {
        stat.rsplit(')').next().unwrap().trim().starts_with('Z')
    })
}

/// It serves, or ends with a reason and without a panic.
pub(crate) fn start_with_little_memory_serves_or_reports(backend: &'static str) {
    let mut world = World::prepare(&plan(backend));
    // The program alone has 34 MB, if it was built for tests.
    let outcomes = [40_u32, 48, 64, 128, 1024].map(|mebibytes| {
        world.daemon.through = Some(format!("ulimit -v {} && exec \"$@\"", mebibytes << 10));
        world.daemon.start_process(&world.gate);
        let serves = wait_for("it to serve or to end", || {
            let serves = !world.daemon.logged(&["the engine serves"]).is_empty();
            (serves || is_gone_or_zombie(world.daemon.pid())).then_some(serves)
        });
        let status = if serves {
            world.daemon.stop()
        } else {
            world.daemon.wait()
        };
        let log = world.daemon.log();
        assert_eq!(status.success(), serves, "{mebibytes} MiB: {status}, {log}");
        let is_said = !log.trim().is_empty() && !log.contains("panicked");
        assert!(is_said, "{mebibytes} MiB: {status}, {log}");
        serves
    });
    assert!(
        outcomes.contains(&true) && outcomes.contains(&false),
        "{outcomes:?}"
    );
}

/// The lists and tables of 10,000 users, and little that is free: a reload has two engines at a time.
pub(crate) fn many_users_need_little_memory(backend: &'static str) {
    let users = (0..10_000).map(|n| {
        let key = key(&n.to_string());
        format!("[[user]]\nname = \"{n}\"\nkey = \"{key}\"\nservices = [\"tcp/{SERVICE}\"]\n")
    });
    let config = GateConfig::new(backend).quiet();
    let world = World::start(&config.section(&users.collect::<String>()));
    for reloads in 0..3 {
        if reloads > 0 {
            drop(world.daemon.asked(&["reload"]));
        }
        wait_until("one engine", || world.daemon.engines().len() == 1);
        let processes = [world.daemon.pid(), world.daemon.engine()];
        let kilobytes = processes.map(own_memory);
        let [monitor, engine] = kilobytes;
        assert!(monitor < 3500 && engine < 4500, "{kilobytes:?}, {reloads}");
    }
}

const STARVE: [&str; 2] = ["mmap,brk", "error=ENOMEM"];

pub(crate) fn engine_without_memory_opens_only_durable(backend: &'static str) {
    let world = World::start(&plan(backend));
    world.first.open("alice", Family::V6, &["--for", "10m"]);
    let engine = world.daemon.engine();
    let starving = Injector::engine(&world, STARVE[0], STARVE[1]);
    let mut last = Vec::new();
    let mut before = 0;
    // Each mark needs memory.
    for _ in 0..300 {
        if is_gone(engine) {
            break;
        }
        before = openings(&world);
        last = world.first.packet(USER, Family::V4, &["--for", "2s"]);
        world.first.send(Family::V4, &last);
        let _ = world.daemon.ask(&["status"]);
        // A late report must not count for the next knock. Without a report this knock is the last.
        if !soon(|| openings(&world) > before || is_gone(engine)) {
            break;
        }
    }
    if !is_gone(engine) {
        // It needs no more memory.
        kill(engine);
    }
    world.daemon.wait_for_lines(2, &["the engine serves"]);
    drop(starving);
    world.first.expect_let_in(Family::V6);
    let _ = expect_opened_once(&world, Family::V4, &last, openings(&world) - before);
    expect_ledger_and_kernel_agree(&world, backend);
    world.first.open(USER, Family::V4, &["--for", "2s"]);
}

fn soon(is_so: impl Fn() -> bool) -> bool {
    (0..50).any(|_| {
        let now = is_so();
        if !now {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        now
    })
}

fn refused(world: &World) -> usize {
    world.daemon.logged(&["WARN", USER, "not open: "]).len()
}

pub(crate) fn monitor_without_memory_leaves_protection(backend: &'static str) {
    let mut world = World::start(&plan(backend));
    for family in FAMILIES {
        let engine = world.daemon.engine();
        let starving = Injector::monitor(&world, STARVE[0], STARVE[1]);
        let (opened_before, refused_before) = (openings(&world), refused(&world));
        let packet = world.first.packet(USER, family, &["--for", "2s"]);
        world.first.send(family, &packet);
        wait_for("a verdict, or the monitor's end", || {
            let told = openings(&world) > opened_before || refused(&world) > refused_before;
            (told || is_gone_or_zombie(world.daemon.pid())).then_some(())
        });
        kill(world.daemon.pid());
        world.daemon.wait();
        drop(starving);
        let opened = openings(&world) - opened_before;
        wait_until("the engine to go with its monitor", || is_gone(engine));
        let left = in_kernel(&world, backend);
        assert!(left.len() <= 1, "{left:?}");
        wait_past(&left);
        world.first.expect_shut_out(family);
        world.second.expect_shut_out(family);
        world.start_again();
        expect_opened_once(&world, family, &packet, opened);
        world.first.open(USER, family, &["--for", "2s"]);
        wait_past(&world.daemon.grants());
        world.first.expect_shut_out(family);
    }
}
