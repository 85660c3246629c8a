//! One knock at several gates, while the coordinator is there, away, and back.

use postern_harness::{KnockMaker, SERVICE, wait_until};

use super::fleet::Fleet;

pub(crate) type Test = fn(&'static str);

pub(crate) const TESTS: &[(&str, Test)] = &[
    (
        "break_glass_opens_its_own_gate",
        break_glass_opens_its_own_gate,
    ),
    ("copied_knock_opens_one_gate", copied_knock_opens_one_gate),
    (
        "knocks_are_refused_while_it_is_away",
        knocks_are_refused_while_it_is_away,
    ),
];

/// A user with `break_glass` has another key at each gate.
fn break_glass_opens_its_own_gate(kind: &'static str) {
    let mut fleet = Fleet::start(kind, 2);
    fleet.server().kill();
    let knock = KnockMaker::of("gate1", "emergency").open([10, 99, 0, 1].into(), SERVICE, 60);
    fleet.deliver(&knock);
    wait_until("its gate to open", || {
        fleet.gates[0].daemon.grants().len() == 1
    });
    let logged = fleet.gates[0]
        .daemon
        .logged(&["WARN", "break glass", "emergency"]);
    assert_eq!(logged.len(), 1);
    let other = &fleet.gates[1].daemon;
    wait_until("the other to drop it", || {
        other.status().count("drop unknown-hint") == 1
    });
    assert_eq!(other.grants(), []);
}

fn copied_knock_opens_one_gate(kind: &'static str) {
    let fleet = Fleet::start(kind, 2);
    let knock = fleet.knock(1);
    fleet.deliver(&knock);
    wait_until("both gates to decide", || {
        fleet.count("drop duplicate") == 1
    });
    wait_until("one gate to open", || fleet.grants() == 1);
    fleet.deliver(&knock);
    wait_until("copies at each gate", || {
        fleet.count("drop duplicate") + fleet.count("drop replay") == 3
    });
    assert_eq!(fleet.grants(), 1);
}

fn knocks_are_refused_while_it_is_away(kind: &'static str) {
    let mut fleet = Fleet::start(kind, 2);
    fleet.server().kill();
    let burnt = fleet.knock(1);
    fleet.deliver(&burnt);
    wait_until("both gates to refuse", || {
        fleet.count("refuse coordinator") == 2
    });
    fleet.start_server();
    fleet.wait_until_back();
    fleet.deliver(&burnt);
    wait_until("the burnt knock to be dropped", || {
        fleet.count("drop duplicate") + fleet.count("drop replay") == 2
    });
    assert_eq!(fleet.grants(), 0);
    fleet.deliver(&fleet.knock(2));
    wait_until("a fresh knock to open one gate", || fleet.grants() == 1);
    assert_eq!(fleet.count("refuse coordinator"), 2);
}
