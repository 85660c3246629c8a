//! Packets that are not a fresh knock of a known user change nothing but a counter (proto/README.md section 6, steps 1 to 8).

use std::time::Duration;

use postern::model::reason::Drop;
use postern_proto::limits::{PACKET_MAX, PACKET_MIN};
use postern_proto::{Malformed, Step};

use crate::forge;
use crate::knocks::{HOME, Knock};
use crate::world::{START, World, seconds};

#[test]
pub(crate) fn each_step_drops_what_it_checks() {
    let mut world = World::of_alice();
    let knock = Knock::of("alice").sealed(START);
    for length in [0, 1, PACKET_MIN - 1, PACKET_MAX + 1, 1400] {
        let mut bytes = knock.as_bytes().to_vec();
        bytes.resize(length, 0);
        world.drops(HOME, &bytes, Drop::Length);
    }
    for length in PACKET_MIN..=PACKET_MAX {
        world.drops(HOME, vec![length as u8; length], Drop::UnknownHint);
    }
    world.drops(HOME, Knock::of("bob").sealed(START), Drop::UnknownHint);
    for at in (8..knock.as_bytes().len()).step_by(7) {
        let mut bytes = knock.as_bytes().to_vec();
        bytes[at] ^= 1;
        world.drops(HOME, &bytes, Drop::BadMac);
    }
    let step = Step::of(START.as_millis());
    world.drops(
        HOME,
        forge::mac_over_what_does_not_open(START),
        Drop::BadSeal,
    );
    let other_step = forge::sealed(step.next(), 2, &forge::body(START));
    world.drops(HOME, other_step, Drop::StepMismatch);
    let padding = forge::sealed(step, 4, &forge::body_with_padding(START));
    world.drops(HOME, padding, Drop::Malformed(Malformed::Padding));
    let millis = Duration::from_millis(30_001);
    let old = Knock::of("alice").sealed(START.minus(millis));
    world.drops(HOME, old, Drop::TooOld);
    let new = Knock::of("alice").sealed(START.plus(millis));
    world.drops(HOME, &new, Drop::TooNew);
    // The packets above do not affect the real knock, or the one that is valid later.
    world.admits(HOME, knock);
    world.admits(HOME, forge::sealed(step, 3, &forge::body(START)));
    world.pass(Duration::from_millis(1));
    world.admits(HOME, new);
}

#[test]
pub(crate) fn a_used_knock_is_a_duplicate_then_a_replay() {
    let mut world = World::of_alice();
    let knock = Knock::of("alice").sealed(START);
    world.admits(HOME, &knock);
    world.drops(HOME, &knock, Drop::Duplicate);
    world.pass(seconds(1));
    world.drops(HOME, &knock, Drop::Duplicate);
    world.pass(Duration::from_millis(1));
    for source in [HOME, "203.0.113.66", "2001:db8::66"] {
        world.drops(source, &knock, Drop::Replay);
    }
    assert_eq!(world.open(), ["alice 192.0.2.7/32 [tcp/22]"]);
    world.pass(seconds(29));
    world.drops(HOME, &knock, Drop::TooOld);
    assert!(world.open().is_empty());
}

#[test]
fn a_refused_knock_sent_again_is_not_logged() {
    let mut world = World::of_alice();
    let knock = Knock::of("alice").services(&["tcp/23"]).sealed(START);
    assert_eq!(world.arrives(HOME, knock.as_bytes()).said.len(), 1);
    world.drops(HOME, &knock, Drop::Duplicate);
    world.pass(seconds(2));
    world.drops(HOME, &knock, Drop::Replay);
}
