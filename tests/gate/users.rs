//! What users see of grants: opened, extended, closed, one user's apart from another's.

use crate::world::{FAMILIES, Plan, World};

pub(crate) fn knock_opens_and_ends(backend: &'static str) {
    let world = World::start(&Plan::new(backend));
    for family in FAMILIES {
        world.first.expect_shut_out(family);
        world.first.knock("alice", family, &["--for", "3s"]);
        world.first.expect_let_in(family);
        world.second.expect_shut_out(family);
        world.wait_until_closed();
        world.first.expect_shut_out(family);
        world.expect_nothing_open();
    }
}
