//! `capture = "udp"`: a bound socket in place of the passive capture.

use postern_harness::{FAMILIES, GateConfig, World};

/// That it answers nothing is shown by `silence::bound_socket`.
pub(crate) fn knock_opens(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend).gate("capture = \"udp\""));
    for family in FAMILIES {
        world.first.expect_shut_out(family);
        world.first.knock("alice", family, &["--for", "5s"]);
        world.first.expect_let_in(family);
        world.second.expect_shut_out(family);
    }
    world.wait_until_closed();
    world.first.expect_both_shut_out();
}
