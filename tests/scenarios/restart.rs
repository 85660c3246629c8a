//! Engine and monitor restart: nothing is forgotten, grants stay and still end.

use postern::model::reason::Drop;

use crate::knocks::{HOME, Knock};
use crate::world::{ALICE, START, World, load, seconds};

#[test]
fn replay_after_an_engine_restart_is_refused() {
    let mut world = World::of_alice();
    let first = Knock::of("alice").sealed(world.now);
    world.admits(HOME, &first);
    world.pass(seconds(2));
    world.restart_engine();
    assert_eq!(world.core.gate().marks(), 1);
    world.drops(HOME, &first, Drop::Replay);
    world.opens(&Knock::of("alice"), HOME);
}

/// Somebody recorded it. The reload allows what it asked for.
#[test]
fn refused_knock_opens_nothing_after_a_reload() {
    let wider = ALICE.replace("tcp/22", "tcp/22', 'tcp/80");
    let mut world = World::of_alice();
    let knock = |world: &World| Knock::of("alice").services(&["tcp/80"]).sealed(world.now);
    let mut recorded = Vec::new();
    // More than the gate remembers of one user.
    for _ in 0..70 {
        recorded.push(knock(&world));
        assert!(
            !world
                .arrives(HOME, recorded.last().unwrap().as_bytes())
                .admitted
        );
        world.pass(seconds(1) / 10);
    }
    world.pass(seconds(2));
    world.settings = load(&wider);
    world.restart_monitor();
    world.restart_engine();
    for knock in &recorded[..6] {
        world.drops(HOME, knock, Drop::TooOld);
    }
    for knock in &recorded[6..] {
        world.drops(HOME, knock, Drop::Replay);
    }
    assert_eq!(world.store.with(|disk| disk.kept.refused.len()), 64);
    let fresh = knock(&world);
    world.admits(HOME, fresh);
}

#[test]
fn the_clock_floor_survives_a_restart() {
    let mut world = World::of_alice();
    let first = Knock::of("alice").sealed(world.now);
    world.admits(HOME, &first);
    world.pass(seconds(60));
    world.opens(&Knock::of("alice"), HOME);
    let found = world.store.with(|disk| disk.kept.marks.len());
    assert_eq!(found, 1, "the first mark is forgotten");
    world.set_clock(START);
    world.restart_engine();
    world.drops(HOME, &first, Drop::TooOld);
}

#[test]
fn a_wider_window_revives_no_knock() {
    let mut world = World::of_alice();
    let first = Knock::of("alice").sealed(world.now);
    world.admits(HOME, &first);
    world.pass(seconds(40));
    world.opens(&Knock::of("alice"), HOME);
    world.settings.gate.window = seconds(300);
    world.restart_engine();
    world.drops(HOME, &first, Drop::TooOld);
}

#[test]
fn a_fresh_monitor_closes_grants_on_time() {
    for (before, left) in [(10, 20), (30, 0)] {
        let mut world = World::of_alice();
        world.alice_knocks();
        world.steady = world.steady.plus(seconds(before));
        world.restart_monitor();
        assert_eq!(world.open().len(), usize::from(left > 0));
        world.pass(seconds(left));
        assert!(world.open().is_empty());
    }
}

#[test]
fn a_fresh_monitor_closes_what_policy_forbids_now() {
    for config in [
        "[[user]]\nname = 'bob'\nkey = BOB\nservices = ['tcp/22']\n",
        "[[user]]\nname = 'alice'\nkey = ALICE\nservices = ['tcp/80']\n",
        &format!("{ALICE}networks = ['10.0.0.0/8']\n"),
    ] {
        let mut world = World::of_alice();
        world.alice_knocks();
        world.settings = load(config);
        world.restart_monitor();
        assert!(world.open().is_empty(), "{config}");
    }
}
