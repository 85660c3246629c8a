//! Captures whose reads fail. No knock that is in the socket is lost.

use super::inject::Injector;
use postern_harness::{FAMILIES, GateConfig, World};

pub(crate) fn few_failed_reads_lose_no_knock(backend: &'static str) {
    for interfaces in ["interfaces = [\"any\"]", "interfaces = [\"gate2\"]"] {
        let world = World::start(&GateConfig::new(backend).gate(interfaces));
        let injector = Injector::engine(&world, "recvmmsg", "error=ENOBUFS:when=1..3");
        world.first.knock("alice", FAMILIES[0], &["--for", "1m"]);
        injector.wait_for_hits(1);
        world.first.expect_let_in(FAMILIES[0]);
        drop(injector);
        world.daemon.expect_logged(1, &["the engine serves"]);
        world.first.open("alice", FAMILIES[1], &["--for", "1m"]);
    }
}

pub(crate) fn constant_read_failure_ends_the_engine(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend));
    world.first.open("alice", FAMILIES[1], &["--for", "10m"]);
    let injector = Injector::engine(&world, "recvmmsg", "error=ENOBUFS");
    world.first.send(FAMILIES[0], &[7; 300]);
    world.first.knock("alice", FAMILIES[0], &["--for", "1m"]);
    world.daemon.wait_for_lines(2, &["the engine serves"]);
    world
        .daemon
        .expect_logged(1, &["capture failed: No buffer space available"]);
    drop(injector);
    world.first.expect_let_in(FAMILIES[1]);
    world.first.expect_shut_out(FAMILIES[0]);
    world.first.open("alice", FAMILIES[0], &["--for", "1m"]);
}
