//! `posternd run --trial`: an administrator who is locked out gets everything back without doing anything.

use crate::world::{Family, Plan, World, text, wait_for};

pub(crate) fn nobody_passes(backend: &'static str) {
    let mut world = on_trial(backend, "3s");
    let before = crate::restart::with_rules_of_others(&world);
    world.start_again();
    world.first.expect_both_shut_out();
    let status = world.daemon.wait();
    assert_eq!(status.code(), Some(1), "{}", world.daemon.log());
    assert_eq!(world.firewall(), before);
    world.first.expect_both_let_in();
    assert_eq!(world.daemon.logged(&["the trial ended", "everything was taken out"]).len(), 1, "{}", world.daemon.log());
}

pub(crate) fn passed_by_a_knock(backend: &'static str) {
    let mut world = on_trial(backend, "4s");
    world.start_again();
    world.first.knock("alice", Family::V4, &["--for", "1s"]);
    world.daemon.wait_for_lines(1, &["the trial is over", "a knock was admitted"]);
    outlives_its_trial(&mut world);
}

pub(crate) fn passed_by_confirmation(backend: &'static str) {
    let mut world = on_trial(backend, "4s");
    world.start_again();
    assert!(text(&world.daemon.ask(&["confirm"])).contains("the trial is over"));
    assert!(text(&world.daemon.ask(&["confirm"])).contains("there was no trial"));
    outlives_its_trial(&mut world);
}

fn on_trial(backend: &str, length: &str) -> World {
    let mut world = World::prepare(&Plan::new(backend));
    world.daemon.options = ["--trial", length].map(str::to_owned).to_vec();
    world
}

fn outlives_its_trial(world: &mut World) {
    wait_for("the time of the trial to pass", || (world.daemon.status().uptime_ms > 5000).then_some(()));
    world.second.expect_both_shut_out();
    assert!(world.daemon.stop().success());
}
