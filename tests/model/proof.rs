//! What holds in every state of the daemon on paper, and that each property is broken where the daemon is built wrong.

use crate::explore::{Explored, explore};
use crate::paper::{Daemon, Flaw};

const HOUSE: Daemon = Daemon {
    flaw: None,
    ticks: 4,
    set_by: 2,
    failures: 1,
};

#[test]
fn invariants_3_4_and_10_hold_in_every_state_of_the_daemon_on_paper() {
    let Explored {
        states,
        steps,
        depth,
    } = explore(&HOUSE).unwrap_or_else(|broken| panic!("{broken:#?}"));
    println!("{states} states, {steps} steps, the farthest {depth} actions away");
    assert!(states > 10_000);
}

#[test]
fn a_daemon_that_is_built_wrong_breaks_the_property_that_stood_on_it() {
    for (flaw, property) in [
        (Flaw::OrderFirst, "3: an order before its mark is durable"),
        (Flaw::OrderAnyway, "3: an order before its mark is durable"),
        (Flaw::EmptyMemory, "3: one mark, two orders"),
        (Flaw::CountsBackwards, "3: one mark, two orders"),
        (Flaw::ForgetsTheTime, "3: one mark, two orders"),
        (Flaw::TwoWriters, "3: one mark, two orders"),
        (
            Flaw::EndsByTheClock,
            "4: a grant that is longer than was asked",
        ),
        (Flaw::NoKernel, "4: a grant past its end"),
        (Flaw::NobodyCloses, "4: a grant past its end"),
        (Flaw::CleanStart, "10: told to be open, but shut"),
        (Flaw::Shortens, "10: told to be open, but shut"),
        (Flaw::TellsFirst, "10: told to be open, but shut"),
    ] {
        let Err(broken) = explore(&Daemon {
            flaw: Some(flaw),
            ..HOUSE
        }) else {
            panic!("{flaw:?} breaks nothing")
        };
        println!("{flaw:?}: {}: {:?}", broken.property, broken.way);
        assert_eq!(broken.property, property, "{flaw:?}: {:?}", broken.way);
    }
}
