//! What is behind the gate fails, or disagrees: nothing opens that should not, and it is told as it is (steps 6.11 and 6.12).

use postern::core::order::Report;
use postern::model::datagram::Datagram;
use postern::model::reason::{Drop, Reason, Rule};

use crate::knocks::{HOME, Knock};
use crate::world::{Outcome, World, address, load, seconds};

const ALICE: &str = "[[user]]\nname = 'alice'\nkey = ALICE\nservices = ['tcp/22']\n";

fn assert_refused_behind_the_gate(outcome: &Outcome, rule: Rule) {
    assert!(outcome.admitted, "the gate itself had nothing against it");
    assert_eq!(outcome.reason, Some(Reason::Refuse(rule)));
    let told = outcome.said.iter().filter(|line| {
        line.contains("WARN") && line.contains("alice") && line.contains(rule.name())
    });
    assert!(told.count() >= 1, "{:?}", outcome.said);
}

#[test]
pub(crate) fn while_the_disk_fails_nothing_opens_and_the_same_knock_stays_refused() {
    let mut world = World::new(ALICE);
    world
        .store
        .with(|disk| disk.failing = Some("no space left on device".to_owned()));
    let knock = Knock::of("alice").sealed(world.now);
    let outcome = world.arrives(HOME, knock.as_bytes());
    assert_refused_behind_the_gate(&outcome, Rule::Store);
    assert!(
        outcome.said[0].contains("no space left on device") && outcome.reports.is_empty(),
        "{outcome:?}"
    );
    // The mark may or may not be on the disk: it is as good as seen.
    assert_eq!(
        world.arrives(HOME, knock.as_bytes()).reason,
        Some(Reason::Drop(Drop::Duplicate))
    );
    world.pass(seconds(2));
    world.store.with(|disk| disk.failing = None);
    assert_eq!(
        world.arrives(HOME, knock.as_bytes()).reason,
        Some(Reason::Drop(Drop::Replay))
    );
    assert!(world.open().is_empty());
    assert!(world.alice_knocks().admitted, "a new knock is a new chance");
    assert_eq!(world.open().len(), 1);
}

#[test]
fn while_the_disk_is_slow_nothing_opens_and_then_it_does() {
    let mut world = World::new(ALICE);
    world.disk_slow = true;
    assert!(world.alice_knocks().admitted);
    world.pass(seconds(5));
    assert!(world.open().is_empty());
    let outcome = world.disk_catches_up();
    assert!(matches!(outcome.reports[..], [Report::Opened { .. }]));
    assert_eq!(
        world.remaining(),
        seconds(30),
        "the wait was not the user's fault"
    );
}

#[test]
pub(crate) fn a_firewall_that_fails_is_told_as_failed_and_the_next_knock_opens() {
    let mut world = World::new(ALICE);
    world
        .firewall
        .with(|state| state.failing = Some("iptables-restore: exit status 4".to_owned()));
    let outcome = world.alice_knocks();
    assert_refused_behind_the_gate(&outcome, Rule::Firewall);
    assert!(
        matches!(&outcome.reports[..], [Report::Refused { rule: Rule::Firewall, why, .. }] if why.contains("exit status 4"))
    );
    assert!(
        world.open().is_empty() && world.executor.grants().next().is_none(),
        "what is not open is not in the ledger"
    );
    world.firewall.with(|state| state.failing = None);
    world.alice_knocks();
    assert_eq!(world.open().len(), 1);
}

#[test]
fn a_firewall_that_fails_to_extend_leaves_the_door_as_it_was() {
    let mut world = World::new(ALICE);
    world.alice_knocks();
    world.pass(seconds(20));
    world
        .firewall
        .with(|state| state.failing = Some("busy".to_owned()));
    assert_refused_behind_the_gate(&world.alice_knocks(), Rule::Firewall);
    assert_eq!(world.remaining(), seconds(10));
}

#[test]
fn a_firewall_that_fails_to_close_is_asked_again_every_second_until_the_door_is_closed() {
    let mut world = World::new(ALICE);
    world.alice_knocks();
    world
        .firewall
        .with(|state| state.failing = Some("busy".to_owned()));
    let before = world.firewall.with(|state| state.batches);
    world.pass(seconds(35));
    assert_eq!(world.firewall.with(|state| state.batches) - before, 6);
    assert_eq!(
        (world.open().len(), world.executor.grants().count()),
        (1, 1),
        "a door that is open is never forgotten"
    );
    world.firewall.with(|state| state.failing = None);
    world.pass(seconds(1));
    assert!(world.open().is_empty() && world.executor.grants().next().is_none());
}

#[test]
pub(crate) fn a_monitor_that_no_longer_knows_the_user_refuses_what_the_engine_admits() {
    let mut world = World::new(ALICE);
    world.alice_knocks();
    let others = load("[[user]]\nname = 'bob'\nkey = BOB\nservices = ['tcp/22']\n");
    world.executor.reload(&others, world.steady).unwrap();
    assert!(world.open().is_empty(), "and what she had open is closed");
    assert_refused_behind_the_gate(&world.alice_knocks(), Rule::User);
    assert!(world.open().is_empty());
}

#[test]
pub(crate) fn a_monitor_with_a_shorter_maximum_refuses_what_the_engine_clipped_by_the_old_one() {
    let mut world = World::new(ALICE);
    let shorter = load(&format!("{ALICE}duration = '5s'\nmax_duration = '5s'\n"));
    world.executor.reload(&shorter, world.steady).unwrap();
    assert_refused_behind_the_gate(&world.alice_knocks(), Rule::Duration);
    assert!(world.open().is_empty());
}

#[test]
fn a_config_that_the_firewall_does_not_take_changes_nothing() {
    let mut world = World::new(ALICE);
    world.alice_knocks();
    world
        .firewall
        .with(|state| state.failing = Some("busy".to_owned()));
    let others = load("[[user]]\nname = 'bob'\nkey = BOB\nservices = ['tcp/22']\n");
    assert!(world.executor.reload(&others, world.steady).is_err());
    world.firewall.with(|state| state.failing = None);
    assert_eq!(world.open().len(), 1);
    assert!(world.knock(&Knock::of("alice"), "198.51.100.9").admitted);
    assert_eq!(world.open().len(), 2);
}

#[test]
fn an_order_that_cannot_be_given_is_a_firewall_that_fails_and_nobody_waits_for_it() {
    let mut world = World::new(ALICE);
    let knock = Knock::of("alice").sealed(world.now);
    let datagram = Datagram::new(
        address(HOME),
        address("198.51.100.1"),
        62201,
        knock.as_bytes(),
    );
    let commit = world.core.datagram(world.now, &datagram).unwrap();
    let order = world.core.stored(commit.ticket, Ok(())).unwrap();
    assert!(!world.core.is_idle());
    world.core.not_ordered(&order, "the monitor is gone");
    assert_eq!(
        (
            world.count(Reason::Refuse(Rule::Firewall)),
            world.core.is_idle()
        ),
        (1, true)
    );
}
