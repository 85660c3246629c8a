//! Reloads while engines are killed and knocks come: in the end one engine serves, with the last config, and nothing was opened twice.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use postern_harness::world::checks::{expect_ledger_and_kernel_agree, kill};
use postern_harness::world::{KnockStream, with_crowd};
use postern_harness::{Family, GateConfig, Random, SERVICE, World, wait_for, wait_until};

const ROUNDS: u32 = 40;

pub(crate) fn reloads_and_kills_end_in_one_engine(backend: &'static str) {
    let plan = |service: u16| {
        with_crowd(GateConfig::empty(backend).user(
            "alice",
            &format!("services = [\"tcp/{service}\"]\nquota = \"1000/min\"\nmax_grants = 1000"),
        ))
    };
    let mut world = World::start(&plan(SERVICE));
    let stream = KnockStream::start(&world, 200);
    let mut dice = Random(104_729);
    for round in 0..ROUNDS {
        // Alice has the right in every second config only, and in the last one.
        world.rewrite(&plan(if round % 2 == 0 { 9 } else { SERVICE }));
        let what = dice.below(4);
        if what != 0 {
            world.daemon.signal(Signal::HUP);
        }
        thread::sleep(Duration::from_millis(dice.below(60)));
        if what < 2 {
            world.daemon.engines().into_iter().for_each(kill);
        }
        thread::sleep(Duration::from_millis(dice.below(250)));
    }
    world.daemon.signal(Signal::HUP);
    let held = stream.hold();
    wait_for("a knock to be let in", || {
        world.first.knock("alice", Family::V6, &["--for", "10m"]);
        (!world
            .daemon
            .logged(&["open: grant", ": alice, "])
            .is_empty())
        .then_some(())
    });
    world.first.expect_let_in(Family::V6);
    wait_until("one engine", || world.daemon.engines().len() == 1);
    expect_ledger_and_kernel_agree(&world, backend);
    assert!(stream.sent() > 500, "{} knocks are no load", stream.sent());
    let mut openings: BTreeMap<String, u32> = BTreeMap::new();
    for line in world.daemon.logged(&["open: grant", ": crowd, "]) {
        let (_, grant) = line.split_once(": crowd, ").unwrap();
        let address = grant.split(' ').next().unwrap().to_owned();
        *openings.entry(address).or_default() += 1;
    }
    assert!(
        openings.values().all(|times| *times == 1),
        "each address knocked once: {openings:?}"
    );
    world.daemon.expect_logged(0, &["another program changed"]);
    drop(held);
    world.second.expect_both_shut_out();
    assert!(world.daemon.stop().success());
}
