//! Someone on the path between client and gate: knocks that are held back, sent again after a close, or taken to another gate.
//!
//! Also what that costs where Postern does not protect, so that the claims of SECURITY.md are neither larger nor smaller.

use postern::adapters::store::memory::MemoryStore;
use postern::client::seal_at_random;
use postern::model::reason::{Drop, Reason, Rule};
use postern_proto::{GateName, KeyMaterial, UserKeys};

use crate::knocks::{HOME, Knock};
use crate::reasons::{assert_dropped, assert_refused};
use crate::world::{World, key, seconds};

/// Whoever stands on the path.
const THIEF: &str = "203.0.113.66";

#[test]
fn a_knock_that_was_held_back_opens_once_within_the_window_and_for_the_address_inside_alone() {
    let mut world = World::of_alice();
    let knock = Knock::of("alice").allow(HOME).sealed(world.now);
    world.pass(seconds(29));
    assert!(world.arrives(THIEF, knock.as_bytes()).admitted);
    assert_eq!(
        world.open(),
        ["alice 192.0.2.7/32 [tcp/22]"],
        "alice's door, not the thief's"
    );
    assert_dropped(
        &mut world,
        |world| world.arrives(HOME, knock.as_bytes()),
        Drop::Duplicate,
    );
    world.pass(seconds(1));
    let late = Knock::of("alice").allow(HOME).sealed(world.now);
    world.pass(seconds(31));
    assert_dropped(
        &mut world,
        |world| world.arrives(THIEF, late.as_bytes()),
        Drop::TooOld,
    );
}

/// What SECURITY.md says is not protected, and what an administrator can do about it.
#[test]
fn a_knock_for_its_own_source_opens_for_whoever_sends_it_first_unless_only_the_claimed_address_counts()
 {
    let mut world = World::of_alice();
    let knock = Knock::of("alice").sealed(world.now);
    assert!(world.arrives(THIEF, knock.as_bytes()).admitted);
    assert_eq!(world.open(), ["alice 203.0.113.66/32 [tcp/22]"]);
    let mut world = World::new(
        "[[user]]\nname = 'alice'\nkey = ALICE\nservices = ['tcp/22']\ngrant_to = 'claimed'\n",
    );
    let knock = Knock::of("alice").sealed(world.now);
    assert_refused(
        &mut world,
        |world| world.arrives(THIEF, knock.as_bytes()),
        Rule::GrantTo,
    );
    assert!(world.open().is_empty());
}

#[test]
fn a_knock_that_comes_again_after_its_door_was_closed_opens_nothing() {
    let mut world = World::of_alice();
    let knock = Knock::of("alice").allow(HOME).sealed(world.now);
    assert!(world.arrives(HOME, knock.as_bytes()).admitted);
    assert!(
        world
            .knock(&Knock::of("alice").allow(HOME).close(), HOME)
            .admitted
    );
    assert_dropped(
        &mut world,
        |world| world.arrives(THIEF, knock.as_bytes()),
        Drop::Duplicate,
    );
    world.pass(seconds(2));
    assert_dropped(
        &mut world,
        |world| world.arrives(THIEF, knock.as_bytes()),
        Drop::Replay,
    );
    assert!(world.open().is_empty());
}

#[test]
fn a_knock_for_one_gate_is_nothing_but_random_bytes_at_another_that_has_the_same_user_and_key() {
    let mut world = World::of_alice();
    for gate in [
        "gate.example.net",
        "gate.example.or",
        "gate.example.org.",
        "GATE.example.org",
    ] {
        let keys = UserKeys::derive(
            &GateName::new(gate).unwrap(),
            &KeyMaterial::shared(&key("alice")),
        );
        let knock = seal_at_random(&keys, &Knock::of("alice").request(world.now)).unwrap();
        assert_dropped(
            &mut world,
            |world| world.arrives(HOME, knock.as_bytes()),
            Drop::UnknownHint,
        );
    }
    assert!(world.alice_knocks().admitted, "the key itself is right");
}

/// What SECURITY.md says is lost with the marks, and no more than that.
#[test]
fn a_gate_that_lost_its_marks_takes_knocks_of_the_last_window_again_and_none_older() {
    let mut world = World::of_alice();
    let (old, recent) = (
        Knock::of("alice").sealed(world.now),
        Knock::of("alice").sealed(world.now.plus(seconds(20))),
    );
    assert!(world.arrives(HOME, old.as_bytes()).admitted);
    world.pass(seconds(20));
    assert!(world.arrives(HOME, recent.as_bytes()).admitted);
    world.pass(seconds(11));
    world.store = MemoryStore::default();
    world.restart_engine();
    assert_eq!(
        world.arrives(HOME, old.as_bytes()).reason,
        Some(Reason::Drop(Drop::TooOld))
    );
    assert!(world.arrives(HOME, recent.as_bytes()).admitted);
}
