//! Wrong clocks and clocks that are set. The gate's clock never runs back behind a recorded time.

use postern::model::reason::Drop;

use crate::knocks::{HOME, Knock};
use crate::world::{START, World, seconds};

#[test]
fn a_clock_set_back_revives_no_knock() {
    let mut world = World::of_alice();
    let first = Knock::of("alice").sealed(world.now);
    world.admits(HOME, &first);
    world.pass(seconds(10));
    world.set_clock(START.minus(seconds(3600)));
    // The gate's clock stays at the last recorded time, so the copy seems to arrive at once.
    world.drops(HOME, &first, Drop::Duplicate);
    // A client with a right clock is admitted, one whose clock was set back is not.
    let right = Knock::of("alice").sealed(world.steady);
    world.admits(HOME, right);
    assert_eq!(world.remaining(), seconds(30));
    let wrong = Knock::of("alice").sealed(world.now);
    world.drops(HOME, wrong, Drop::UnknownHint);
    world.pass(seconds(30));
    assert!(world.open().is_empty(), "the monitor's clock cannot be set");
}

#[test]
fn a_clock_briefly_ahead_locks_nobody_out() {
    let mut world = World::of_alice();
    world.set_clock(START.plus(seconds(86_400)));
    let right = Knock::of("alice").sealed(START);
    world.drops(HOME, &right, Drop::UnknownHint);
    world.set_clock(START);
    // Only an admission records the time.
    world.admits(HOME, right);
}

#[test]
fn a_clock_set_forward_forgets_no_mark() {
    let mut world = World::of_alice();
    let first = Knock::of("alice").sealed(world.now);
    world.admits(HOME, &first);
    world.set_clock(START.plus(seconds(7200)));
    world.opens(&Knock::of("alice"), HOME);
    world.set_clock(START);
    let outcome = world.arrives(HOME, first.as_bytes());
    assert!(!outcome.admitted, "{outcome:?}");
    assert_eq!(world.open().len(), 1);
}

#[test]
fn a_wrong_monitor_clock_keeps_durations() {
    let mut world = World::of_alice();
    world.steady = START.minus(seconds(5_000_000));
    world.alice_knocks();
    assert_eq!(world.remaining(), seconds(30));
    world.pass(seconds(30));
    assert!(world.open().is_empty());
}

/// While a host is suspended, both clocks continue and nobody reads them.
#[test]
fn after_a_suspend_grants_end_and_replays_fail() {
    let mut world = World::of_alice();
    let first = Knock::of("alice").sealed(world.now);
    world.admits(HOME, &first);
    world.steady = world.steady.plus(seconds(600));
    world.set_clock(START.plus(seconds(600)));
    assert_eq!(world.open().len(), 1, "this firewall ends no grants itself");
    world.pass(seconds(0));
    assert!(world.open().is_empty());
    assert!(!world.arrives(HOME, first.as_bytes()).admitted);
    world.opens(&Knock::of("alice"), HOME);
    assert_eq!(world.remaining(), seconds(30));
}
