//! A suspended host. The tests stop every process of the gate instead, so unlike in a real suspend the kernel's timers continue.

use rustix::process::Signal;

use super::plan;
use postern_harness::process::signal;
use postern_harness::world::checks::{
    USER, expect_ledger_and_kernel_agree, expect_opened_once, openings, wait_past,
};
use postern_harness::{FAMILIES, World, wait_until};

pub(crate) fn grant_that_ended_during_suspend_is_closed(backend: &'static str) {
    let world = World::start(&plan(backend));
    for family in FAMILIES {
        let packet = world.first.packet(USER, family, &["--for", "2s"]);
        let before = openings(&world);
        world.first.send(family, &packet);
        world.first.expect_let_in(family);
        let grants = world.daemon.grants();
        let both = [world.daemon.pid(), world.daemon.engine()];
        both.iter().for_each(|pid| signal(*pid, Signal::STOP));
        wait_past(&grants);
        world.first.expect_shut_out(family);
        // New knocks and replays wait in the socket.
        world.first.send(family, &packet);
        both.iter().for_each(|pid| signal(*pid, Signal::CONT));
        wait_until("the grant to be closed in the ledger too", || {
            world.daemon.grants().is_empty()
        });
        expect_ledger_and_kernel_agree(&world, backend);
        assert_eq!(openings(&world) - before, 1);
        assert!(!expect_opened_once(&world, family, &packet, 1));
        world.first.open(USER, family, &["--for", "2s"]);
        world.wait_until_closed();
    }
    world.daemon.expect_logged(1, &["the engine serves"]);
}
