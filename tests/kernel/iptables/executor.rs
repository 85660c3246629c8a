//! The monitor's executor over the real driver: grants of the last run, and a clock that was set. The kernel ends grants by the
//! wall clock, which the monitor's must then follow.

use std::time::Duration;

use postern::core::order::{Order, Report};
use postern::daemon::monitor::executor::Executor;
use postern::model::request::OpenRequest;
use postern::model::time::{ClockStep, Timestamp};

use super::world::World;
use super::{V4, V6};
use crate::inputs;
use postern_harness::now;
use postern_harness::world::checks::LATE;

const LONG: Duration = Duration::from_secs(7200);

fn executor(world: &World, monitors_time: Timestamp) -> Executor {
    let key = "A".repeat(43);
    let settings = inputs::settings(format!(
        "[gate]\nname = \"g\"\n[[user]]\nname = \"alice\"\nkey = \"{key}=\"\nservices = [\"tcp/22\"]\n"
    ));
    let driver = Box::new(world.another_driver());
    Executor::open(&settings, driver, None, monitors_time).unwrap()
}

fn open(allow: &str, duration: Duration) -> Order {
    let request = OpenRequest {
        duration,
        ..inputs::request("alice", allow, &["tcp/22"])
    };
    Order::Open { ticket: 1, request }
}

pub(crate) fn grant_keeps_its_length_after_a_clock_change(variant: &'static str) {
    for [address, allow] in [V4, V6] {
        for step in [ClockStep::Forward(LONG), ClockStep::Back(LONG)] {
            let mut world = World::new(variant);
            let _listener = world.listen(address);
            // What the monitor's clock shows that has not followed yet.
            let behind = |step| match step {
                ClockStep::Forward(by) => now().minus(by),
                ClockStep::Back(by) => now().plus(by),
            };
            let mut executor = executor(&world, behind(step));
            assert!(!world.connects(address), "protected");
            let reports = executor.serve(behind(step), vec![open(allow, Duration::from_secs(4))]);
            assert!(
                matches!(reports[..], [Report::Opened { .. }]),
                "{reports:?}"
            );
            let until = now().plus(Duration::from_secs(4));
            let was_open = world.connects(address);
            assert_eq!(
                was_open,
                matches!(step, ClockStep::Back(_)),
                "by the kernel's clock its end is past, or far"
            );

            executor.clock_was_set(step);
            executor.check_firewall(now());
            assert!(world.connects(address), "{step}");
            let end = executor.grants().next().unwrap().until;
            assert!(
                ClockStep::between(until, end)
                    .is_none_or(|off| off.length() < Duration::from_millis(1500)),
                "{end} for {until}"
            );
            // Nobody but the kernel is there to end it.
            std::thread::sleep(end.plus(LATE).since(now()));
            assert!(
                !world.connects(address),
                "{step}: open though its time is up"
            );
            assert_eq!(world.listed().len(), 1, "nobody took it out");
            executor.serve(now(), vec![]);
            assert!(world.listed().is_empty());
        }
    }
}

pub(crate) fn grants_of_the_last_run_are_adopted(variant: &'static str) {
    let world = World::new(variant);
    let _listeners = [V4, V6].map(|[address, _]| world.listen(address));
    let mut last = executor(&world, now());
    let orders = [V4, V6].map(|[_, allow]| open(allow, Duration::from_secs(600)));
    last.serve(now(), orders.to_vec());
    let grants = |executor: &Executor| executor.grants().cloned().collect::<Vec<_>>();
    let before = grants(&last);
    drop(last);
    let next = executor(&world, now());
    assert_eq!((before.len(), grants(&next)), (2, before));
    for [address, _] in [V4, V6] {
        assert!(world.connects(address), "{address}");
    }
}
