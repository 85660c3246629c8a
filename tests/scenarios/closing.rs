//! Grants closed early, by their user or by the administrator.

use postern::adapters::control::{Answer, Client, Question};
use postern::core::order::Selection;

use crate::knocks::{HOME, Knock};
use crate::world::World;

fn both() -> World {
    World::new(
        "[[user]]\nname = 'alice'\nkey = ALICE\nservices = ['tcp/22', 'tcp/80']\n\n[[user]]\nname = 'bob'\nkey = BOB\nservices = ['tcp/22']\n",
    )
}

#[test]
fn a_closing_knock_works_once() {
    let mut world = both();
    world.alice_knocks();
    let close = Knock::of("alice").services(&[]).close().sealed(world.now);
    assert!(world.arrives(HOME, close.as_bytes()).admitted);
    world.alice_knocks();
    assert!(!world.arrives(HOME, close.as_bytes()).admitted);
    assert_eq!(world.open(), ["alice 192.0.2.7/32 [tcp/22]"]);
}

#[test]
fn the_administrator_lists_and_closes_grants() {
    let mut world = both();
    world.alice_knocks();
    world.knock(&Knock::of("bob"), "198.51.100.9");
    let Answer::Grants(grants) = ask(&mut world, Question::Grants) else {
        panic!("no grants")
    };
    assert_eq!(
        grants
            .iter()
            .map(|listed| listed.grant.user.as_str())
            .collect::<Vec<_>>(),
        ["alice", "bob"]
    );
    assert_eq!(
        ask(
            &mut world,
            Question::Close(Selection::User("bob".to_owned()))
        ),
        Answer::Closed(1)
    );
    assert_eq!(world.open(), ["alice 192.0.2.7/32 [tcp/22]"]);
    let Answer::Status(status) = ask(&mut world, Question::Status) else {
        panic!("no status")
    };
    assert_eq!((status.admitted, status.users, status.marks), (2, 2, 2));
}

fn ask(world: &mut World, question: Question) -> Answer {
    let (client, answered) = Client::detached().unwrap();
    if let Some(order) = world.core.question(world.now, question, client) {
        for report in world.executor.serve(world.steady, vec![order]) {
            world.core.reported(report);
        }
    }
    let (_, line) = answered.recv().unwrap();
    serde_json::from_slice(&line).unwrap()
}
