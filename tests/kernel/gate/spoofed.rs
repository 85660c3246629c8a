//! A knock with a forged source address: the address inside counts, or the policy refuses the knock.

use postern_harness::{FAMILIES, GateConfig, World};

/// An unused address.
const LIE: u8 = 99;

/// The client forges by itself, with `--spoof-source`. Bob, for whom only the source counts, shows which one the gate saw.
pub(crate) fn spoofed_source_opens_claimed_address(backend: &'static str) {
    let plan = GateConfig::new(backend).member("bob", "grant_to = \"observed\"");
    let world = World::start(&plan);
    for (count, family) in (1..).zip(FAMILIES) {
        let (claimed, lie) = (
            world.second.address(family),
            family.address(LIE).to_string(),
        );
        let forged = ["--spoof-source", &lie, "--allow", &claimed.to_string()];
        world.first.knock("bob", family, &forged);
        world
            .daemon
            .wait_for_lines(1, &["refused: bob ", &format!("source={lie}")]);
        let said = world.first.knock("alice", family, &forged);
        assert!(
            said.contains(&format!("letting in {claimed} for")),
            "{said}"
        );
        let grants = world.wait_for_grants(count);
        assert_eq!(
            grants[count - 1].allow,
            claimed.into(),
            "only the address inside"
        );
        world.second.expect_let_in(family);
        world.first.expect_shut_out(family);
        // Without --allow it is the client's own address that is claimed.
        let own = world.first.address(family);
        let said = world
            .first
            .knock("alice", family, &["--spoof-source", &lie]);
        assert!(said.contains(&format!("letting in {own} for")), "{said}");
        world.first.expect_let_in(family);
        world.first.close("alice", family);
        world.wait_for_grants(count);
    }
}
