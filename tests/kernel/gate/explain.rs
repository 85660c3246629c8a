//! `posternd explain` beside a gate that runs: of the same datagrams it says what the gate did, and why.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use postern_harness::Namespace;
use postern_harness::{
    FAMILIES, Family, GATE_NAME, GateConfig, KnockMaker, LONGEST_WAIT, SERVICE, World, posternd,
    wait_for,
};

/// A program in the gate's namespace that is read line by line, and ended with this value.
struct Running {
    child: Child,
    said: Receiver<String>,
    noted: Receiver<String>,
}

impl Running {
    fn start(gate: &Namespace, program: PathBuf, arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let mut child = gate.run(move || {
            let mut command = Command::new(program);
            command
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        });
        let (said, noted) = (
            lines(child.stdout.take().unwrap()),
            lines(child.stderr.take().unwrap()),
        );
        Self { child, said, noted }
    }

    /// Waits for a line on standard error that contains this.
    fn wait_for_note(&self, words: &str) {
        while !self
            .noted
            .recv_timeout(LONGEST_WAIT)
            .unwrap_or_else(|_| panic!("it never said {words:?}"))
            .contains(words)
        {}
    }

    /// The next line on standard output.
    fn line(&self) -> String {
        self.said
            .recv_timeout(LONGEST_WAIT)
            .expect("it says nothing")
    }
}

fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (said, heard) = channel();
    std::thread::spawn(move || {
        BufReader::new(from)
            .lines()
            .map_while(Result::ok)
            .try_for_each(|line| said.send(line))
    });
    heard
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A knock with a wrong key is seen and explained; the gate goes on as if nobody listened beside it.
pub(crate) fn explain_live_beside_the_gate(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend));
    let config = world.folder().join("posternd.toml").display().to_string();
    let arguments = ["explain", "--live", "--count", "6", "--config", &config];
    let mut live = Running::start(&world.gate, posternd().into(), &arguments);
    live.wait_for_note("explaining knocks to UDP port 62201 on every interface");
    let rights = std::fs::read_to_string(format!("/proc/{}/status", live.child.id())).unwrap();
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
        let line = live.line();
        assert!(line.contains(&format!("Z {from}: drop unknown-hint (step 2): no user's key made it, not for gate {GATE_NAME}")), "{line}");
        world.first.send(family, &right);
        let line = live.line();
        assert!(
            line.contains(&format!(
                "Z {from}: admit: alice may open tcp/{SERVICE} for {from}"
            )),
            "{line}"
        );
        let status = world.daemon.wait_for_admitted(round);
        assert_eq!(
            (status.admitted, status.count("drop unknown-hint")),
            (round, round)
        );
        world.first.expect_let_in(family);
        std::thread::sleep(Duration::from_millis(1100));
        world.first.send(family, &right);
        let line = live.line();
        assert!(
            line.contains(&format!("Z {from}: drop replay (step 8): alice's key, but this very packet came before, admitted at ")),
            "{line}"
        );
    }
    assert_eq!(
        wait_for("the end after six", || live.child.try_wait().unwrap()).code(),
        Some(0)
    );
    world.first.knock("alice", Family::V4, &[]);
    world.daemon.wait_for_admitted(3);
}
