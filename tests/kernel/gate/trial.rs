//! `posternd run --trial`: the rules are removed for an administrator who is locked out.

use std::{fs, io};

use postern_harness::{Family, GateConfig, World, text, wait_until};

pub(crate) fn unconfirmed_trial_restores_the_firewall(backend: &'static str) {
    let mut world = on_trial(backend, "3s");
    let before = super::restart::with_rules_of_others(&world);
    world.start_again();
    world.first.expect_both_shut_out();
    let status = world.daemon.wait();
    assert_eq!(status.code(), Some(1), "{}", world.daemon.log());
    assert_eq!(world.firewall(), before);
    world.first.expect_both_let_in();
    let said = ["the trial ended", "all rules were removed"];
    world.daemon.expect_logged(1, &said);
}

pub(crate) fn knock_confirms_the_trial(backend: &'static str) {
    let mut world = on_trial(backend, "4s");
    world.start_again();
    world.first.knock("alice", Family::V4, &["--for", "1s"]);
    world
        .daemon
        .wait_for_lines(1, &["the trial is over", "a knock was admitted"]);
    outlives_its_trial(&mut world);
}

pub(crate) fn confirm_keeps_the_rules(backend: &'static str) {
    let mut world = on_trial(backend, "4s");
    world.start_again();
    assert!(text(&world.daemon.ask(&["confirm"])).contains("the trial is over"));
    assert!(text(&world.daemon.ask(&["confirm"])).contains("there was no trial"));
    outlives_its_trial(&mut world);
}

fn on_trial(backend: &str, length: &str) -> World {
    let mut world = World::prepare(&GateConfig::new(backend));
    world.daemon.options = ["--trial", length].map(str::to_owned).to_vec();
    world
}

fn outlives_its_trial(world: &mut World) {
    wait_until("the time of the trial to pass", || {
        world.daemon.status().uptime_ms > 5000
    });
    world.second.expect_both_shut_out();
    assert!(world.daemon.stop().success());
}

/// A start can fail when the ports are closed already: before the engine runs, or because the engine can't.
pub(crate) fn failed_trial_start_restores_the_firewall(backend: &'static str) {
    let mut world = on_trial(backend, "1m");
    let before = super::restart::with_rules_of_others(&world);
    world.start_again();
    world.first.expect_both_shut_out();
    assert!(world.daemon.stop().success());
    assert_eq!(
        world.firewall(),
        before,
        "who stops a trial wants it back too"
    );
    let folder = world.folder().to_owned();
    let in_the_way = folder.join("control.sock/in-the-way");
    for (cause, make) in [
        (
            "control.sock",
            (&|| fs::create_dir_all(&in_the_way)) as &dyn Fn() -> io::Result<()>,
        ),
        ("marks.log", &|| {
            fs::remove_dir_all(folder.join("control.sock"))
                .and_then(|()| fs::write(folder.join("state/marks.log"), "no store"))
        }),
    ] {
        make().unwrap();
        world.daemon.start_process(&world.gate);
        let status = world.daemon.wait();
        assert!(
            !status.success() && world.daemon.log().contains(cause),
            "{status}: {}",
            world.daemon.log()
        );
        assert_eq!(world.firewall(), before, "{cause}: {}", world.daemon.log());
        world.first.expect_both_let_in();
    }
}
