//! Faults of nf_tables over netlink: a refused batch, a lost answer, a slow kernel.

use super::inject::Injector;
use super::plan;
use postern_harness::world::checks::{
    USER, expect_ledger_and_kernel_agree, in_kernel, openings, wait_past,
};
use postern_harness::{FAMILIES, Family, World, wait_until};

fn world() -> World {
    World::start(&plan("nftables"))
}

fn refused(world: &World) -> usize {
    world.daemon.logged(&["WARN", USER, "not open: "]).len()
}

pub(crate) fn refused_batch_opens_nothing(_: &'static str) {
    let world = world();
    for (count, error) in (1..).zip(["ENOBUFS", "ENOMEM", "EPERM"]) {
        let family = FAMILIES[count % 2];
        let injector = Injector::monitor(&world, "sendto", &format!("error={error}"));
        world.first.knock(USER, family, &["--for", "10m"]);
        wait_until("the refusal", || refused(&world) == count);
        assert_eq!(in_kernel(&world, "nftables"), [], "{error}");
        drop(injector);
        world.first.expect_shut_out(family);
        expect_works_again(&world, family);
    }
    world.daemon.expect_logged(1, &["the engine serves"]);
}

pub(crate) fn lost_kernel_answers_are_reconciled(_: &'static str) {
    let world = world();
    for family in FAMILIES {
        let (opened, refused_before) = (openings(&world), refused(&world));
        let injector = Injector::monitor(&world, "recvfrom", "error=ENOBUFS");
        world.first.knock(USER, family, &["--for", "10m"]);
        wait_until("the verdict", || {
            openings(&world) > opened || refused(&world) > refused_before
        });
        assert_eq!(openings(&world), opened, "told as open without an answer");
        drop(injector);
        expect_ledger_and_kernel_agree(&world, "nftables");
        assert_eq!(world.daemon.grants(), [], "what was refused is not open");
        world.first.expect_shut_out(family);
        expect_works_again(&world, family);
    }
}

pub(crate) fn slow_kernel_delays_no_close(_: &'static str) {
    let world = world();
    world.first.open("alice", Family::V6, &["--for", "2s"]);
    let grants = world.daemon.grants();
    let injector = Injector::monitor(&world, "sendto", "delay_enter=1s");
    world.first.knock(USER, Family::V4, &["--for", "10m"]);
    wait_past(&grants);
    world.first.expect_shut_out(Family::V6);
    world.first.expect_let_in(Family::V4);
    drop(injector);
    expect_ledger_and_kernel_agree(&world, "nftables");
}

fn expect_works_again(world: &World, family: Family) {
    world.first.open(USER, family, &["--for", "10m"]);
    world.daemon.asked(&["close", "--all"]);
    world.first.expect_shut_out(family);
}
