//! What a stranger can send, and what becomes of it: nothing but a counter (specification, steps 6.1 to 6.8).
//!
//! Bodies that break a rule of section 5 are in `malformed.rs`.

use std::time::Duration;

use postern::model::reason::Drop;
use postern_proto::Step;
use postern_proto::limits::{PACKET_MAX, PACKET_MIN};

use crate::forge;
use crate::knocks::{HOME, Knock};
use crate::reasons::assert_dropped;
use crate::world::{World, seconds};

#[test]
pub(crate) fn what_is_too_short_or_too_long_for_a_knock_is_dropped_by_its_length() {
    let mut world = World::of_alice();
    let knock = Knock::of("alice").sealed(world.now);
    for length in [0, 1, PACKET_MIN - 1, PACKET_MAX + 1, 1400] {
        let mut bytes = knock.as_bytes().to_vec();
        bytes.resize(length, 0);
        assert_dropped(
            &mut world,
            |world| world.arrives(HOME, &bytes),
            Drop::Length,
        );
    }
}

#[test]
pub(crate) fn random_bytes_of_a_knocks_length_are_dropped_by_their_hint() {
    let mut world = World::of_alice();
    for length in PACKET_MIN..=PACKET_MAX {
        assert_dropped(
            &mut world,
            |world| world.arrives(HOME, &vec![length as u8; length]),
            Drop::UnknownHint,
        );
    }
}

#[test]
fn a_knock_for_another_gate_or_of_an_unknown_user_is_nothing_but_random_bytes() {
    let mut world = World::of_alice();
    let bobs = Knock::of("bob").sealed(world.now);
    assert_dropped(
        &mut world,
        |world| world.arrives(HOME, bobs.as_bytes()),
        Drop::UnknownHint,
    );
}

#[test]
pub(crate) fn a_knock_with_one_changed_byte_is_dropped_by_its_mac() {
    let mut world = World::of_alice();
    let knock = Knock::of("alice").sealed(world.now);
    for at in (8..knock.as_bytes().len()).step_by(7) {
        let mut bytes = knock.as_bytes().to_vec();
        bytes[at] ^= 1;
        assert_dropped(
            &mut world,
            |world| world.arrives(HOME, &bytes),
            Drop::BadMac,
        );
    }
    assert!(
        world.arrives(HOME, knock.as_bytes()).admitted,
        "the real one is not spoilt by its copies"
    );
}

#[test]
pub(crate) fn a_right_mac_over_a_wrong_seal_is_dropped() {
    let mut world = World::of_alice();
    let bytes = forge::mac_over_what_does_not_open(world.now);
    assert_dropped(
        &mut world,
        |world| world.arrives(HOME, &bytes),
        Drop::BadSeal,
    );
}

#[test]
pub(crate) fn a_knock_under_the_hint_of_another_step_is_dropped() {
    let mut world = World::of_alice();
    let step = Step::of(world.now.as_millis());
    let right = forge::sealed(step, 1, &forge::body(world.now));
    let wrong = forge::sealed(step.next(), 2, &forge::body(world.now));
    assert_dropped(
        &mut world,
        |world| world.arrives(HOME, &wrong),
        Drop::StepMismatch,
    );
    assert!(
        world.arrives(HOME, &right).admitted,
        "the forger's sealing is right otherwise"
    );
}

#[test]
pub(crate) fn a_knock_that_was_on_its_way_for_too_long_is_dropped() {
    let mut world = World::of_alice();
    let knock = Knock::of("alice").sealed(world.now);
    world.pass(seconds(30) + Duration::from_millis(1));
    assert_dropped(
        &mut world,
        |world| world.arrives(HOME, knock.as_bytes()),
        Drop::TooOld,
    );
}

#[test]
pub(crate) fn a_knock_from_the_future_is_dropped() {
    let mut world = World::of_alice();
    let knock = Knock::of("alice").sealed(world.now.plus(Duration::from_millis(30_001)));
    assert_dropped(
        &mut world,
        |world| world.arrives(HOME, knock.as_bytes()),
        Drop::TooNew,
    );
    world.pass(Duration::from_millis(1));
    assert!(
        world.arrives(HOME, knock.as_bytes()).admitted,
        "its time comes, for it was never counted as seen"
    );
}

#[test]
pub(crate) fn a_recorded_knock_opens_nothing_when_sent_again() {
    let mut world = World::of_alice();
    let knock = Knock::of("alice").sealed(world.now);
    assert!(world.arrives(HOME, knock.as_bytes()).admitted);
    world.pass(Duration::from_millis(1001));
    for source in [HOME, "203.0.113.66", "2001:db8::66"] {
        assert_dropped(
            &mut world,
            |world| world.arrives(source, knock.as_bytes()),
            Drop::Replay,
        );
    }
    assert_eq!(world.open(), ["alice 192.0.2.7/32 [tcp/22]"]);
    world.pass(seconds(29));
    assert_dropped(
        &mut world,
        |world| world.arrives(HOME, knock.as_bytes()),
        Drop::TooOld,
    );
    assert!(world.open().is_empty());
}

#[test]
pub(crate) fn a_second_copy_within_a_second_is_a_duplicate_and_no_alarm() {
    let mut world = World::of_alice();
    let knock = Knock::of("alice").sealed(world.now);
    assert!(world.arrives(HOME, knock.as_bytes()).admitted);
    for _ in 0..2 {
        assert_dropped(
            &mut world,
            |world| world.arrives(HOME, knock.as_bytes()),
            Drop::Duplicate,
        );
        world.pass(seconds(1) / 2);
    }
    assert_eq!(world.open().len(), 1);
}

#[test]
fn a_refused_knock_that_is_sent_again_is_not_told_again() {
    let mut world = World::of_alice();
    let knock = Knock::of("alice").services(&["tcp/23"]).sealed(world.now);
    assert_eq!(world.arrives(HOME, knock.as_bytes()).said.len(), 1);
    assert_dropped(
        &mut world,
        |world| world.arrives(HOME, knock.as_bytes()),
        Drop::Duplicate,
    );
    world.pass(seconds(2));
    assert_dropped(
        &mut world,
        |world| world.arrives(HOME, knock.as_bytes()),
        Drop::Replay,
    );
}
