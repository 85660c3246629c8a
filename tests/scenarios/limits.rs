//! How much one user may do, and that nobody without a key can use it up (step 6.10).

use postern::model::reason::{Reason, Rule};

use crate::knocks::{HOME, Knock};
use crate::reasons::assert_refused;
use crate::world::{World, seconds};

fn two_users() -> World {
    let user = |name: &str, key: &str| {
        format!("[[user]]\nname = '{name}'\nkey = {key}\nservices = ['tcp/22']\nquota = '2/min'\n")
    };
    World::new(&(user("alice", "ALICE") + &user("bob", "BOB")))
}

#[test]
pub(crate) fn a_spent_quota_refuses_and_comes_back_with_time() {
    let mut world = two_users();
    assert!(world.alice_knocks().admitted && world.alice_knocks().admitted);
    assert_refused(&mut world, |world| world.alice_knocks(), Rule::Quota);
    assert!(
        world.knock(&Knock::of("bob"), HOME).admitted,
        "the quota is one user's own"
    );
    world.pass(seconds(29));
    assert_refused(&mut world, |world| world.alice_knocks(), Rule::Quota);
    world.pass(seconds(1));
    assert!(world.alice_knocks().admitted);
    assert_refused(&mut world, |world| world.alice_knocks(), Rule::Quota);
    world.pass(seconds(3600));
    assert!(
        world.alice_knocks().admitted && world.alice_knocks().admitted,
        "the whole of it, and no more"
    );
    assert_refused(&mut world, |world| world.alice_knocks(), Rule::Quota);
}

#[test]
fn strangers_and_replays_and_refused_wishes_use_no_quota_up() {
    let mut world = two_users();
    let knock = Knock::of("alice").sealed(world.now);
    assert!(world.arrives(HOME, knock.as_bytes()).admitted);
    let mut changed = knock.as_bytes().to_vec();
    changed[30] ^= 1;
    for _ in 0..50 {
        world.arrives(HOME, knock.as_bytes());
        world.arrives(HOME, &changed);
        world.knock(&Knock::of("alice").services(&["tcp/80"]), HOME);
    }
    assert!(world.alice_knocks().admitted);
}

#[test]
fn a_closing_knock_counts_too() {
    let mut world = two_users();
    world.alice_knocks();
    assert!(world.knock(&Knock::of("alice").close(), HOME).admitted);
    assert_refused(
        &mut world,
        |world| world.knock(&Knock::of("alice").close(), HOME),
        Rule::Quota,
    );
}

#[test]
fn marks_are_remembered_for_no_longer_than_the_window_needs() {
    let mut world = World::new(
        "[[user]]\nname = 'alice'\nkey = ALICE\nservices = ['tcp/22']\nquota = '100/s'\n",
    );
    for _ in 0..600 {
        assert!(world.alice_knocks().admitted);
        world.pass(seconds(1));
    }
    // One a second, for the window of 30 seconds, both ends included.
    assert_eq!(world.core.gate().marks(), 31);
    assert_eq!(world.store.with(|disk| disk.kept.marks.len()), 31);
}

/// A disk that hangs must not let the engine's memory grow without end.
#[test]
fn when_too_many_knocks_wait_for_the_disk_the_next_is_refused() {
    let mut world = World::new(
        "[[user]]\nname = 'alice'\nkey = ALICE\nservices = ['tcp/22']\nquota = '100000/s'\n",
    );
    world.disk_slow = true;
    let waiting = (0..5000)
        .take_while(|_| world.alice_knocks().reason.is_none())
        .count();
    assert_eq!(waiting, 4096);
    assert_eq!(world.count(Reason::Refuse(Rule::Store)), 1);
    assert!(world.open().is_empty());
    world.disk_slow = false;
    world.disk_catches_up();
    assert_eq!(
        world.open(),
        ["alice 192.0.2.7/32 [tcp/22]"],
        "and then all is as it should be"
    );
    assert!(world.alice_knocks().admitted);
}
