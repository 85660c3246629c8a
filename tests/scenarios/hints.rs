//! The hint table over time: steps end, and tables come late.

use std::time::Duration;

use postern::core::gate::HintTable;
use postern::model::reason::{Drop, Reason};
use postern_proto::limits::STEP_MS;

use crate::knocks::{HOME, Knock};
use crate::world::{START, World, seconds};

const UNKNOWN: Option<Reason> = Some(Reason::Drop(Drop::UnknownHint));

#[test]
fn a_knock_across_a_step_boundary_is_admitted() {
    let mut world = World::of_alice();
    world.pass(Duration::from_millis(31_999));
    let last_millisecond = Knock::of("alice").sealed(world.now);
    assert_eq!(world.now.as_millis() % STEP_MS, STEP_MS - 1);
    world.pass(Duration::from_millis(1500));
    assert!(world.arrives(HOME, last_millisecond.as_bytes()).admitted);
    assert!(world.alice_knocks().admitted, "and one of the new step");
}

#[test]
fn a_knock_from_the_next_step_is_admitted() {
    let mut world = World::of_alice();
    world.pass(seconds(10));
    let ahead = Knock::of("alice").sealed(world.now.plus(seconds(30)));
    world.admits(HOME, ahead);
}

#[test]
fn knocks_are_dropped_until_a_late_table_comes() {
    let mut world = World::of_alice();
    world.tables_stuck = true;
    // The next step's rows are in the present table.
    world.pass(seconds(60));
    assert!(world.alice_knocks().admitted);
    world.pass(seconds(128));
    let outcome = world.alice_knocks();
    assert_eq!(outcome.reason, UNKNOWN);
    assert!(world.open().is_empty(), "{outcome:?}");
    assert!(outcome.said.is_empty(), "{outcome:?}");
    world.tables_stuck = false;
    world.set_clock(world.now);
    assert!(world.alice_knocks().admitted);
}

#[test]
fn a_gate_without_a_table_requests_one() {
    let mut world = World::of_alice();
    let found = world.core.gate().hint_rows();
    assert_eq!(found, 2, "one for each of two steps");
    world.core.gate().install(HintTable::empty());
    assert_eq!(world.core.gate().hint_rows(), 0);
    assert_eq!(world.alice_knocks().reason, UNKNOWN);
    let expected = Some(27_500_000..=27_500_001);
    assert_eq!(world.core.gate().table_wanted(START), expected);
}

#[test]
fn of_two_users_with_one_hint_the_mac_decides() {
    let user = |name: &str, key: &str| {
        format!("[[user]]\nname = '{name}'\nkey = {key}\nservices = ['tcp/22']\n")
    };
    let mut world = World::new(&(user("alice", "ALICE") + &user("bob", "BOB")));
    let steps = 27_500_000..=27_500_001;
    // Nobody can make two hints the same, but a table can hold them.
    let bobs = world.core.gate().hint_keys().iter().nth(1).unwrap().clone();
    world.core.gate().install(HintTable::build(
        &[bobs.clone(), bobs].into_iter().collect(),
        steps,
    ));
    let knock = Knock::of("bob").sealed(world.now);
    let mut changed = knock.as_bytes().to_vec();
    changed[100] ^= 1;
    assert_eq!(
        world.arrives(HOME, &changed).reason,
        Some(Reason::Drop(Drop::BadMac)),
        "the mac is of neither"
    );
    assert!(world.arrives(HOME, knock.as_bytes()).admitted);
    let expected = ["bob 192.0.2.7/32 [tcp/22]"];
    assert_eq!(world.open(), expected, "alice's row comes first");
}
