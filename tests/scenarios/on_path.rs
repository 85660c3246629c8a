//! An attacker on the path between client and gate, who holds back, repeats and moves knocks.
//!
//! Tests also what Postern does not protect, so that SECURITY.md claims neither more nor less.

use postern::adapters::store::memory::MemoryStore;
use postern::client::seal_at_random;
use postern::model::reason::{Drop, Rule};
use postern_proto::{GateName, KeyMaterial, UserKeys};

use crate::knocks::{HOME, Knock};
use crate::world::{ALICE, World, key, seconds};

const ATTACKER: &str = "203.0.113.66";

#[test]
fn a_delayed_knock_opens_once_for_its_own_address() {
    let mut world = World::of_alice();
    let knock = Knock::of("alice").allow(HOME).sealed(world.now);
    world.pass(seconds(29));
    world.admits(ATTACKER, &knock);
    assert_eq!(world.open(), ["alice 192.0.2.7/32 [tcp/22]"]);
    world.drops(HOME, &knock, Drop::Duplicate);
    world.pass(seconds(1));
    let late = Knock::of("alice").allow(HOME).sealed(world.now);
    world.pass(seconds(31));
    world.drops(ATTACKER, late, Drop::TooOld);
}

/// SECURITY.md says that this is not protected, and that `grant_to` helps.
#[test]
fn a_knock_for_its_source_opens_for_its_sender() {
    let mut world = World::of_alice();
    world.opens(&Knock::of("alice"), ATTACKER);
    assert_eq!(world.open(), ["alice 203.0.113.66/32 [tcp/22]"]);
    let mut world = World::new(&format!("{ALICE}grant_to = 'claimed'\n"));
    world.refuses(ATTACKER, &Knock::of("alice"), Rule::GrantTo);
}

/// The client claims what the server told it, and sends from its own address.
#[test]
fn a_lying_stun_server_lets_nobody_in() {
    let claimed = Knock::of("alice").allow(ATTACKER);
    let mut world = World::new(&format!("{ALICE}grant_to = 'same'\n"));
    world.refuses(HOME, &claimed, Rule::GrantTo);
    // SECURITY.md says that an attacker who also sends the knock gets in.
    world.opens(&claimed, ATTACKER);
    world.opens(&Knock::of("alice").allow(HOME), HOME);
}

#[test]
fn a_knock_repeated_after_a_close_opens_nothing() {
    let mut world = World::of_alice();
    let knock = Knock::of("alice").allow(HOME).sealed(world.now);
    world.admits(HOME, &knock);
    world.opens(&Knock::of("alice").allow(HOME).close(), HOME);
    world.drops(ATTACKER, &knock, Drop::Duplicate);
    world.pass(seconds(2));
    world.drops(ATTACKER, &knock, Drop::Replay);
    assert!(world.open().is_empty());
}

#[test]
fn a_knock_for_another_gate_is_random_bytes() {
    let mut world = World::of_alice();
    for gate in [
        "gate.example.net",
        "gate.example.or",
        "gate.example.org.",
        "GATE.example.org",
    ] {
        let material = KeyMaterial::shared(&key("alice"));
        let keys = UserKeys::derive(&GateName::new(gate).unwrap(), &material);
        let knock = seal_at_random(&keys, &Knock::of("alice").request(world.now)).unwrap();
        world.drops(HOME, knock, Drop::UnknownHint);
    }
    world.opens(&Knock::of("alice"), HOME);
}

/// SECURITY.md says that this is lost with the marks.
#[test]
fn lost_marks_allow_replays_of_the_last_window_only() {
    let mut world = World::of_alice();
    let old = Knock::of("alice").sealed(world.now);
    world.admits(HOME, &old);
    world.pass(seconds(20));
    let recent = Knock::of("alice").sealed(world.now);
    world.admits(HOME, &recent);
    world.pass(seconds(11));
    world.store = MemoryStore::default();
    world.restart_engine();
    world.drops(HOME, old, Drop::TooOld);
    world.admits(HOME, recent);
}
