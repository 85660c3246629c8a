//! Processes that die and start again: what must be remembered is, and doors neither fall shut nor stay open.

use postern::model::reason::{Drop, Reason};

use crate::knocks::{HOME, Knock};
use crate::world::{START, World, load, seconds};

const ALICE: &str = "[[user]]\nname = 'alice'\nkey = ALICE\nservices = ['tcp/22']\n";

#[test]
fn a_fresh_engine_refuses_the_knock_that_the_last_one_admitted() {
    let mut world = World::new(ALICE);
    let first = Knock::of("alice").sealed(world.now);
    assert!(world.arrives(HOME, first.as_bytes()).admitted);
    world.pass(seconds(2));
    world.restart_engine();
    assert_eq!(world.core.gate().marks(), 1);
    assert_eq!(
        world.arrives(HOME, first.as_bytes()).reason,
        Some(Reason::Drop(Drop::Replay))
    );
    assert!(world.alice_knocks().admitted, "a new knock is admitted");
}

#[test]
fn a_fresh_engine_keeps_the_clock_from_counting_backwards() {
    let mut world = World::new(ALICE);
    let first = Knock::of("alice").sealed(world.now);
    world.arrives(HOME, first.as_bytes());
    world.pass(seconds(60));
    assert!(
        world.alice_knocks().admitted,
        "the mark of the first knock may be forgotten from now on"
    );
    assert_eq!(world.store.with(|disk| disk.kept.marks.len()), 1);
    world.set_clock(START);
    world.restart_engine();
    let outcome = world.arrives(HOME, first.as_bytes());
    assert_eq!(
        outcome.reason,
        Some(Reason::Drop(Drop::TooOld)),
        "though by the system's clock it is fresh"
    );
}

#[test]
fn a_wider_window_in_the_new_config_does_not_bring_back_what_was_forgotten() {
    let mut world = World::new(ALICE);
    let first = Knock::of("alice").sealed(world.now);
    world.arrives(HOME, first.as_bytes());
    world.pass(seconds(40));
    world.alice_knocks();
    world.settings.gate.window = seconds(300);
    world.restart_engine();
    assert_eq!(
        world.arrives(HOME, first.as_bytes()).reason,
        Some(Reason::Drop(Drop::TooOld))
    );
}

#[test]
fn a_fresh_monitor_keeps_the_doors_that_are_due_later_and_still_closes_them_in_time() {
    let mut world = World::new(ALICE);
    world.alice_knocks();
    world.pass(seconds(10));
    world.restart_monitor();
    assert_eq!((world.open().len(), world.remaining()), (1, seconds(20)));
    world.pass(seconds(20));
    assert!(world.open().is_empty());
}

#[test]
fn a_fresh_monitor_closes_what_came_due_while_none_ran() {
    let mut world = World::new(ALICE);
    world.alice_knocks();
    world.steady = world.steady.plus(seconds(30));
    assert_eq!(
        world.open().len(),
        1,
        "this firewall does not end grants by itself"
    );
    world.restart_monitor();
    assert!(world.open().is_empty());
}

#[test]
fn a_fresh_monitor_closes_the_doors_of_users_who_are_gone_or_may_no_longer() {
    for config in [
        "[[user]]\nname = 'bob'\nkey = BOB\nservices = ['tcp/22']\n",
        "[[user]]\nname = 'alice'\nkey = ALICE\nservices = ['tcp/80']\n",
        "[[user]]\nname = 'alice'\nkey = ALICE\nservices = ['tcp/22']\nnetworks = ['10.0.0.0/8']\n",
    ] {
        let mut world = World::new(ALICE);
        world.alice_knocks();
        world.settings = load(config);
        world.restart_monitor();
        assert!(world.open().is_empty(), "{config}");
    }
}
