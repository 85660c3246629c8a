//! A rotated-out key is valid until its expiry, beside the new one.

use std::time::Duration;

use postern::model::reason::{Drop, Rule};
use postern::model::time::Timestamp;

use crate::knocks::{HOME, Knock};
use crate::world::{ALICE, START, World, seconds};

fn rotated(until: Timestamp, more: &str) -> World {
    World::new(&format!(
        "{ALICE}old_key = BOB\nold_until = {until}\n{more}"
    ))
}

#[test]
fn an_old_key_ends_to_the_millisecond() {
    let mut world = rotated(START.plus(seconds(20)), "");
    assert_eq!(world.core.gate().users(), 1);
    world.opens(&Knock::of("bob"), HOME);
    world.opens(&Knock::of("alice"), HOME);
    world.pass(seconds(20) - Duration::from_millis(1));
    world.opens(&Knock::of("bob"), HOME);
    assert_eq!(world.open(), ["alice 192.0.2.7/32 [tcp/22]"]);
    // In the same step, with the same table.
    world.pass(Duration::from_millis(1));
    let drops_the_old_key = |world: &mut World| {
        let old = Knock::of("bob").sealed(world.now);
        world.drops(HOME, old, Drop::UnknownHint);
    };
    drops_the_old_key(&mut world);
    world.opens(&Knock::of("alice"), HOME);
    world.set_clock(START.plus(seconds(10)));
    drops_the_old_key(&mut world);
    world.pass(seconds(600));
    drops_the_old_key(&mut world);
    world.opens(&Knock::of("alice"), HOME);
}

#[test]
fn both_keys_share_one_quota() {
    let mut world = rotated(START.plus(seconds(600)), "quota = '3/min'\n");
    for user in ["alice", "bob", "alice"] {
        world.opens(&Knock::of(user), HOME);
    }
    for user in ["alice", "bob"] {
        world.refuses(HOME, &Knock::of(user), Rule::Quota);
    }
}
