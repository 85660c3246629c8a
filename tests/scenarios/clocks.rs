//! Clocks that are wrong, and clocks that are set. The gate's never counts backwards once it has recorded a time.

use postern::model::reason::{Drop, Reason};

use crate::knocks::{HOME, Knock};
use crate::world::{START, World, seconds};

#[test]
fn a_clock_set_back_brings_no_old_knock_back_and_keeps_no_door_open() {
    let mut world = World::of_alice();
    let first = Knock::of("alice").sealed(world.now);
    assert!(world.arrives(HOME, first.as_bytes()).admitted);
    world.pass(seconds(10));
    world.set_clock(START.minus(seconds(3600)));
    // The gate's clock stands where it was last recorded, so the copy looks as if it had come at once.
    assert_eq!(
        world.arrives(HOME, first.as_bytes()).reason,
        Some(Reason::Drop(Drop::Duplicate))
    );
    // A client whose clock is right is still admitted: the gate's counts from the last time it recorded.
    let right = Knock::of("alice").sealed(world.steady);
    assert!(world.arrives(HOME, right.as_bytes()).admitted);
    assert_eq!(world.remaining(), seconds(30));
    // A client whose clock was set back too is not, or a recorded knock of that hour would be.
    assert_eq!(
        world.alice_knocks().reason,
        Some(Reason::Drop(Drop::UnknownHint))
    );
    world.pass(seconds(30));
    assert!(
        world.open().is_empty(),
        "the monitor's clock was not set back"
    );
}

#[test]
fn a_clock_that_was_ahead_for_a_while_locks_nobody_out() {
    let mut world = World::of_alice();
    world.set_clock(START.plus(seconds(86_400)));
    let right = Knock::of("alice").sealed(START);
    assert_eq!(
        world.arrives(HOME, right.as_bytes()).reason,
        Some(Reason::Drop(Drop::UnknownHint))
    );
    world.set_clock(START);
    assert!(
        world.arrives(HOME, right.as_bytes()).admitted,
        "only a time at which somebody was admitted is recorded"
    );
}

#[test]
fn a_clock_set_forward_forgets_no_mark_that_could_still_be_replayed() {
    let mut world = World::of_alice();
    let first = Knock::of("alice").sealed(world.now);
    world.arrives(HOME, first.as_bytes());
    world.set_clock(START.plus(seconds(7200)));
    assert!(world.alice_knocks().admitted);
    world.set_clock(START);
    let outcome = world.arrives(HOME, first.as_bytes());
    assert!(
        !outcome.admitted && outcome.reports.is_empty(),
        "{outcome:?}"
    );
    assert_eq!(world.open().len(), 1);
}

#[test]
fn both_edges_of_the_window_are_inside_it() {
    for (made, admitted) in [
        (START.minus(seconds(30)), true),
        (START.plus(seconds(30)), true),
        (START.minus(seconds(31)), false),
        (START.plus(seconds(31)), false),
    ] {
        let mut world = World::of_alice();
        let packet = Knock::of("alice").sealed(made);
        assert_eq!(
            world.arrives(HOME, packet.as_bytes()).admitted,
            admitted,
            "{made}"
        );
    }
}

#[test]
fn a_monitor_with_a_wrong_clock_still_ends_every_grant_after_its_length() {
    let mut world = World::of_alice();
    world.steady = START.minus(seconds(5_000_000));
    world.alice_knocks();
    assert_eq!(world.remaining(), seconds(30));
    world.pass(seconds(30));
    assert!(world.open().is_empty());
}

/// Suspended, a host looks at no clock; as it wakes, the wall clock and the one that ends of grants are measured by have both gone on.
#[test]
fn a_host_that_slept_past_the_end_of_a_grant_closes_it_as_it_wakes_and_admits_no_replay() {
    let mut world = World::of_alice();
    let first = Knock::of("alice").sealed(world.now);
    assert!(world.arrives(HOME, first.as_bytes()).admitted);
    world.steady = world.steady.plus(seconds(600));
    world.set_clock(START.plus(seconds(600)));
    assert_eq!(
        world.open().len(),
        1,
        "this firewall does not end grants by itself"
    );
    world.pass(seconds(0));
    assert!(
        world.open().is_empty(),
        "the first look at the clock closes it"
    );
    let outcome = world.arrives(HOME, first.as_bytes());
    assert!(
        !outcome.admitted && outcome.reports.is_empty(),
        "{outcome:?}"
    );
    assert!(world.alice_knocks().admitted);
    assert_eq!(world.remaining(), seconds(30));
}
