//! The monitor's executor over the real driver, for a clock that was set: the kernel ends grants by the wall clock, which the
//! monitor's must then follow.

use std::time::Duration;

use postern::adapters::config;
use postern::adapters::config::bundle::{Bundle, BundleFile};
use postern::core::order::{Order, Report};
use postern::daemon::monitor::executor::Executor;
use postern::model::request::{AddressFrom, OpenRequest};
use postern::model::time::ClockStep;

use super::world::World;
use super::{V4, V6};
use postern_harness::firewall::iptables_variants as variants;
use postern_harness::now;

const LONG: Duration = Duration::from_secs(7200);

fn executor(world: &World, monitors_time: postern::model::time::Timestamp) -> Executor {
    let text = "[gate]\nname = \"g\"\n[[user]]\nname = \"alice\"\nkey = \"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"\nservices = [\"tcp/22\"]\n";
    let main = Some(BundleFile {
        path: "posternd.toml".into(),
        text: text.to_owned().into(),
    });
    let settings = config::load(&Bundle {
        main,
        ..Bundle::default()
    })
    .unwrap()
    .settings;
    Executor::open(
        &settings,
        Box::new(world.another_driver()),
        None,
        monitors_time,
    )
    .unwrap()
}

fn open(allow: &str, length: Duration) -> Order {
    let services = vec!["tcp/22".parse().unwrap()];
    let (user, from) = ("alice".to_owned(), AddressFrom::Claimed);
    Order::Open {
        ticket: 1,
        request: OpenRequest {
            user,
            allow: allow.parse().unwrap(),
            from,
            target: None,
            services,
            duration: length,
        },
    }
}

pub(crate) fn grant_keeps_its_length_after_a_clock_change() {
    for variant in variants() {
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
                assert!(!world.connects(address), "{variant}: protected");
                let reports =
                    executor.serve(behind(step), vec![open(allow, Duration::from_secs(4))]);
                assert!(
                    matches!(reports[..], [Report::Opened { .. }]),
                    "{reports:?}"
                );
                let until = now().plus(Duration::from_secs(4));
                let was_open = world.connects(address);
                assert_eq!(
                    was_open,
                    matches!(step, ClockStep::Back(_)),
                    "{variant}: by the kernel's clock its end is past, or far"
                );

                executor.clock_was_set(step);
                executor.check_firewall(now());
                assert!(world.connects(address), "{variant}: {step}");
                let end = executor.grants().next().unwrap().until;
                assert!(
                    ClockStep::between(until, end)
                        .is_none_or(|off| off.length() < Duration::from_millis(1500)),
                    "{variant}: {end} for {until}"
                );
                // Nobody but the kernel is there to end it.
                while now() < until.plus(Duration::from_secs(2)) {
                    std::thread::sleep(Duration::from_millis(50));
                }
                assert!(
                    !world.connects(address),
                    "{variant}: {step}: open though its time is up"
                );
                assert_eq!(world.listed().len(), 1, "{variant}: nobody took it out");
                executor.serve(now(), vec![]);
                assert!(world.listed().is_empty(), "{variant}");
            }
        }
    }
}
