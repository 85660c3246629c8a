//! Gates of one name: a knock whose mark is durable opens only after its claim was won.

use postern::core::claims::{Answer, Ask, Claim, Told};
use postern::core::order::Order;
use postern::model::reason::{Drop, Reason, Rule};
use postern::model::time::Timestamp;
use postern_harness::cluster::{CLAIM_DEADLINE, cluster};

use crate::codes::{SECRET, code};
use crate::knocks::{HOME, Knock};
use crate::reasons;
use crate::world::{ALICE, World, seconds};

/// A gate whose coordinator answers.
fn joined() -> World {
    joined_by(World::of_alice())
}

fn joined_by(mut world: World) -> World {
    world.core.join_cluster("gate", &cluster());
    world.core.cluster_connected(world.now);
    comes_back(&mut world);
    world
}

fn comes_back(world: &mut World) {
    let Some(Ask::Probe { number }) = world.core.next_ask(world.now) else {
        panic!("no probe");
    };
    let stale = Told::Back { number: number - 1 };
    assert_eq!(world.core.told(world.now, stale), None);
    assert_eq!(world.core.told(world.now, Told::Back { number }), None);
}

/// An admitted knock, and the claim that is asked for it.
fn asked(world: &mut World) -> (u64, Claim) {
    let knock = Knock::of("alice").sealed(world.now);
    let outcome = world.arrives(HOME, knock.as_bytes());
    assert!(
        outcome.admitted && outcome.reports.is_empty(),
        "{outcome:?}"
    );
    match world.core.next_ask(world.now) {
        Some(Ask::Claim { ticket, claim, .. }) => (ticket, claim),
        other => panic!("{other:?}"),
    }
}

fn told(world: &mut World, ticket: u64, answer: Answer) -> Option<Order> {
    world.core.told(world.now, Told::Claimed { ticket, answer })
}

fn refused(world: &mut World) -> u64 {
    let reason = Reason::Refuse(Rule::Coordinator);
    reasons::was_given(reason);
    world.count(reason)
}

#[test]
fn only_a_won_claim_opens_and_once() {
    let mut world = joined();
    let (ticket, _) = asked(&mut world);
    assert_eq!(told(&mut world, ticket + 1, Answer::Won), None);
    let order = told(&mut world, ticket, Answer::Won);
    assert!(matches!(order, Some(Order::Open { .. })));
    assert_eq!(told(&mut world, ticket, Answer::Won), None, "told again");
}

#[test]
fn lost_claim_is_a_duplicate_then_a_replay() {
    let mut world = joined();
    for (before, reason) in [(1, Drop::Duplicate), (2, Drop::Replay)] {
        let (ticket, _) = asked(&mut world);
        let made = world.now.minus(seconds(before));
        assert_eq!(told(&mut world, ticket, Answer::Lost { made }), None);
        assert_eq!(world.count(Reason::Drop(reason)), 1);
    }
    let (ticket, _) = asked(&mut world);
    let made = Timestamp::default();
    assert_eq!(told(&mut world, ticket, Answer::Lost { made }), None);
    assert_eq!(world.count(Reason::Drop(Drop::Replay)), 2);
}

#[test]
pub(crate) fn unknown_claims_refuse_until_the_coordinator_is_back() {
    let mut world = joined();
    let (ticket, _) = asked(&mut world);
    world.pass(CLAIM_DEADLINE);
    // The probe, after the knock is refused.
    let number = match world.core.next_ask(world.now) {
        Some(Ask::Probe { number }) => number,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&mut world), 1);
    assert_eq!(
        told(&mut world, ticket, Answer::Won),
        None,
        "it came too late"
    );

    let outcome = world.alice_knocks();
    assert!(outcome.admitted, "its mark is used");
    assert_eq!(world.core.next_ask(world.now), None, "nothing is asked");
    assert_eq!(refused(&mut world), 2);

    assert_eq!(world.core.told(world.now, Told::Back { number }), None);
    let (ticket, _) = asked(&mut world);
    let why = "reset".to_owned();
    assert_eq!(told(&mut world, ticket, Answer::Unknown { why }), None);
    assert_eq!(refused(&mut world), 3);
    comes_back(&mut world);
    let (ticket, _) = asked(&mut world);
    assert!(told(&mut world, ticket, Answer::Won).is_some());
}

#[test]
fn a_flood_of_lost_claims_is_logged_in_part() {
    let lost = Answer::Lost {
        made: World::of_alice().now,
    };
    let unknown = Answer::Unknown {
        why: "reset".to_owned(),
    };
    for answer in [lost, Answer::CodeLost, unknown] {
        let mut world = joined_by(World::new(&format!("{ALICE}quota = '1000/s'\n")));
        let mut said = 0;
        for _ in 0..100 {
            let (ticket, _) = asked(&mut world);
            told(&mut world, ticket, answer.clone());
            said += world.said().len();
            if matches!(answer, Answer::Unknown { .. }) {
                comes_back(&mut world);
            }
        }
        assert_eq!(said, 20, "{answer:?}");
    }
}

#[test]
fn claim_that_nobody_takes_is_refused_at_once() {
    for is_sent in [false, true] {
        let mut world = joined();
        let knock = Knock::of("alice").sealed(world.now);
        assert!(world.arrives(HOME, knock.as_bytes()).admitted);
        let ask = world.core.next_ask(world.now).unwrap();
        let Ask::Claim { ticket, .. } = ask else {
            panic!("{ask:?}");
        };
        if is_sent {
            world.core.cluster_lost(world.now, "it has ended");
        } else {
            world.core.not_asked(world.now, ask, "it takes no message");
        }
        assert_eq!(refused(&mut world), 1);
        assert_eq!(world.core.status(world.now).cluster.unwrap().unknown, 1);
        assert!(world.core.is_idle());
        assert_eq!(told(&mut world, ticket, Answer::Won), None);
    }
}

#[test]
fn claim_outlasts_a_knock_dated_ahead() {
    let mut world = joined();
    let made = world.now.plus(seconds(28));
    let knock = Knock::of("alice").sealed(made);
    assert!(world.arrives(HOME, knock.as_bytes()).admitted);
    let Some(Ask::Claim { claim, .. }) = world.core.next_ask(world.now) else {
        panic!("no claim");
    };
    // It counts as fresh for 58 s here, and longer at a gate whose clock is behind.
    assert!(claim.lasts_ms.unwrap() >= 58_000 + 30_000);
    // No two gate names share a key.
    assert_eq!(claim.mark.as_str().len(), 64);
}

#[test]
fn claim_outlasts_the_code_of_the_next_step() {
    let mut world = joined_by(World::new(&format!("{ALICE}totp = '{SECRET}'\n")));
    let knock = Knock::of("alice").code(&code(&world, 6, 1));
    let knock = knock.sealed(world.now);
    assert!(world.arrives(HOME, knock.as_bytes()).admitted);
    let Some(Ask::Claim { claim, .. }) = world.core.next_ask(world.now) else {
        panic!("no claim");
    };
    assert!(claim.code.is_some());
    // It is right for up to 90 s here, and longer at a gate whose clock is behind.
    assert!(claim.lasts_ms.unwrap() >= 90_000 + 60_000);
}
