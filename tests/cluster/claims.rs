//! One knock at several gates, while the coordinator is there, away, and back.

use std::time::Duration;

use postern_harness::{KnockMaker, SERVICE, now, wait_at_most, wait_until};

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

/// It is fresh for 58 s, and burnt as long: at etcd and at Redis, at the gate that opened and at the other.
pub(crate) fn knock_dated_ahead_stays_burnt() {
    let fleets = ["etcd", "redis"].map(|kind| Fleet::start(kind, 2));
    let sent = now();
    let (dated, later) = (
        sent.plus(Duration::from_secs(28)),
        sent.plus(Duration::from_secs(54)),
    );
    let burnt = fleets.each_ref().map(|fleet| {
        let knock = fleet
            .knocks
            .open_dated(dated, [10, 99, 0, 1].into(), SERVICE, 600);
        fleet.deliver_to(&fleet.gates[0], &knock);
        wait_until("the first gate to open", || fleet.grants() == 1);
        knock
    });
    let within = Duration::from_secs(60);
    wait_at_most(within, "moment 54 s later", || {
        (now() >= later).then_some(())
    });
    for (fleet, knock) in fleets.iter().zip(&burnt) {
        fleet.deliver(knock);
        for gate in &fleet.gates {
            gate.daemon.wait_for_count("drop replay", 1);
        }
        assert_eq!(fleet.grants(), 1);
        let at_gates = fleet.gates.iter().map(|gate| gate.daemon.grants().len());
        assert_eq!(at_gates.collect::<Vec<_>>(), [1, 0]);
        // The other gate asked: the knock was fresh for it.
        assert_eq!(fleet.gates[1].cluster()["lost"], 1);
    }
}
