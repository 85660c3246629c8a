//! `posternd explain` beside a gate that runs: of the same datagrams it says what the gate did, and why.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};

use postern_harness::{
    FAMILIES, Family, GATE_NAME, GateConfig, KnockMaker, SERVICE, World, posternd, wait_for,
};

/// A program in the gate's namespace that writes into a file and ends with this value.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A knock with a wrong key is seen and explained; the gate works as without an observer.
pub(crate) fn explain_live_beside_the_gate(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend));
    let config = world.folder().join("posternd.toml").display().to_string();
    let said = world.folder().join("explained");
    let file = File::create(&said).unwrap();
    let mut live = Running(world.gate.run(move || {
        let mut command = Command::new(posternd());
        command.args(["explain", "--live", "--count", "4", "--config", &config]);
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap());
        command.stderr(file).spawn().unwrap()
    }));
    let wait_for_line = |words: &str| {
        wait_for(words, || {
            let said = fs::read_to_string(&said).unwrap();
            said.contains(words).then_some(())
        });
    };
    wait_for_line("explaining knocks to UDP port 62201 on every interface");
    let rights = fs::read_to_string(format!("/proc/{}/status", live.0.id())).unwrap();
    assert!(
        rights.contains("CapEff:\t0000000000000000\n")
            && rights.contains("CapPrm:\t0000000000000000\n"),
        "{rights}"
    );
    for (round, family) in (1_u64..).zip(FAMILIES) {
        let from = world.first.address(family);
        let [wrong, right] =
            ["mallory", "alice"].map(|user| KnockMaker::new(user).open(from, SERVICE, 60));
        world.first.send(family, &wrong);
        wait_for_line(&format!(
            "Z {from}: drop unknown-hint (step 2): no user's key made it, not for gate {GATE_NAME}"
        ));
        world.first.send(family, &right);
        wait_for_line(&format!(
            "Z {from}: admit: alice may open tcp/{SERVICE} for {from}"
        ));
        let status = world.daemon.wait_for_admitted(round);
        assert_eq!(
            (status.admitted, status.count("drop unknown-hint")),
            (round, round)
        );
        world.first.expect_let_in(family);
    }
    assert_eq!(
        wait_for("the end after four", || live.0.try_wait().unwrap()).code(),
        Some(0)
    );
    world.first.knock("alice", Family::V4, &[]);
    world.daemon.wait_for_admitted(3);
}
