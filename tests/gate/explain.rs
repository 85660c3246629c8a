//! `posternd explain` beside a gate that runs: of the same datagrams it says what the gate did, and why.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use postern::client::seal_at_random;
use postern_proto::{
    Action, Allow, GateName, Item, KeyMaterial, Protocol, Request, Service, SharedKey, UserKeys,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use postern_harness::Namespace;
use postern_harness::{
    FAMILIES, Family, GATE_NAME, GateConfig, LONGEST_WAIT, SERVICE, World, find, key, posternd,
    seed, text, wait_for,
};

/// A knock by alice's key, or another's, for a gate and a port, made so many seconds ago.
fn knock(user: &str, gate: &str, port: u16, age: Duration) -> Vec<u8> {
    let shared = SharedKey::from_base64(&key(user)).unwrap();
    let keys = UserKeys::derive(&GateName::new(gate).unwrap(), &KeyMaterial::shared(&shared));
    let made = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() - age;
    let request = Request {
        action: Action::Open,
        allow: Allow::Source { prefix: 128 },
        timestamp_ms: u64::try_from(made.as_millis()).unwrap(),
        duration_s: 0,
        target: None,
        items: vec![Item::Service(
            Service::new(Protocol::Tcp, port, port).unwrap(),
        )],
    };
    seal_at_random(&keys, &request).unwrap().as_bytes().to_vec()
}

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

    fn stop(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        self.child.wait().unwrap();
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

/// A mix of knocks, good and bad in every way that an administrator meets, recorded by tcpdump as it comes to the running gate.
pub(crate) fn recording_of_a_mix(backend: &'static str) {
    for (interface, ending) in [
        ("any", "on every interface, cooked"),
        ("gate2", "on one cable, Ethernet"),
    ] {
        let world = World::start(&GateConfig::new(backend).gate("window = \"30s\""));
        let file = world.folder().join("mix.pcap").display().to_string();
        let arguments = [
            "-i", interface, "-U", "-Z", "root", "-s", "0", "-w", &file, "udp", "and", "inbound",
        ];
        let mut tcpdump = Running::start(&world.gate, find("tcpdump").unwrap(), &arguments);
        tcpdump.wait_for_note("listening on");
        // What it says is true only a moment later.
        wait_for("tcpdump to record", || {
            world.first.send_to(
                std::net::SocketAddr::new(Family::V4.address(1), 9),
                b"is it recorded?",
            );
            text(&world.daemon.ask(&["explain", "--all", &file]))
                .contains("UDP to port 9, which is no knock port")
                .then_some(())
        });
        let now = Duration::ZERO;
        let admitted = knock("alice", GATE_NAME, SERVICE, now);
        let mix = [
            admitted.clone(),
            admitted.clone(),
            knock("alice", GATE_NAME, SERVICE, Duration::from_secs(312)),
            knock("alice", "Gate.Test", SERVICE, now),
            knock("alice", GATE_NAME, SERVICE + 1, now),
            knock("mallory", GATE_NAME, SERVICE, now),
            seed("junk").repeat(8),
            seed("short").to_vec(),
        ];
        for packet in &mix {
            world.first.send(Family::V4, packet);
        }
        // A second after the first copy it is no duplicate any more.
        std::thread::sleep(Duration::from_millis(1100));
        world.first.send(Family::V4, &admitted);
        let status = world.daemon.wait_for_count("drop replay", 1);
        // Both see the same packets at the same time, but tcpdump writes them a moment later.
        let sent = mix.len() + 1;
        let told = wait_for(&format!("{sent} packets recorded {ending}"), || {
            let output = world.daemon.ask(&["explain", "--json", &file]);
            let lines: Vec<Value> = text(&output)
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            Some(lines).filter(|lines| lines.len() == sent)
        });
        tcpdump.stop();

        let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
        for reason in told.iter().filter_map(|line| line["reason"].as_str()) {
            *reasons.entry(reason.to_owned()).or_default() += 1;
        }
        let admitted = told
            .iter()
            .filter(|line| line["verdict"] == "admit")
            .count();
        assert_eq!(
            (admitted as u64, &reasons),
            (status.admitted, &status.reasons),
            "the running gate's own counters, {ending}"
        );
        let causes: Vec<&str> = told
            .iter()
            .map(|line| line["cause"].as_str().unwrap())
            .collect();
        let expected = [
            "admitted",
            "replay",
            "clock",
            "other-gate",
            "policy",
            "unknown-key",
            "unknown-key",
            "length",
            "replay",
        ];
        assert_eq!(causes, expected, "{ending}");
        assert!(
            told.iter().all(|line| line["source"] == "10.77.0.2"),
            "{told:?}"
        );
        assert_eq!(told[3]["other_gate"], "Gate.Test");
        let said = |at: usize| told[at]["says"].as_str().unwrap().to_owned();
        assert!(
            said(2).starts_with("alice's key, but made 5m 12"),
            "{}",
            said(2)
        );
        assert!(
            said(4).contains("tcp/2223 is not in tcp/2222"),
            "{}",
            said(4)
        );

        let plain = text(&world.daemon.asked(&["explain", &file]));
        assert!(
            plain
                .lines()
                .next()
                .unwrap()
                .contains(" 10.77.0.2: admit: alice may open tcp/2222 for 10.77.0.2/32 for 30s"),
            "{plain}"
        );
    }
}

/// A knock with a wrong key is seen and explained; the gate goes on as if nobody listened beside it.
pub(crate) fn live_beside_the_gate(backend: &'static str) {
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
        world.first.send(
            family,
            &knock("mallory", GATE_NAME, SERVICE, Duration::ZERO),
        );
        let line = live.line();
        assert!(line.contains(&format!("Z {from}: drop unknown-hint (step 2): no user's key made it, not for gate {GATE_NAME}")), "{line}");
        let right = knock("alice", GATE_NAME, SERVICE, Duration::ZERO);
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

/// What came before `--live` began is known to the running gate alone, and a single packet is looked up there, too.
pub(crate) fn asks_the_running_gate(backend: &'static str) {
    let seldom = format!("services = [\"tcp/{SERVICE}\"]\nquota = \"1/h\"");
    let mut world = World::start(&GateConfig::new(backend).user("carol", &seldom));
    let before = world.first.packet("alice", Family::V4, &[]);
    world.first.send(Family::V4, &before);
    world.first.knock("carol", Family::V4, &[]);
    world.daemon.wait_for_admitted(2);
    std::thread::sleep(Duration::from_millis(1100));
    let config = world.folder().join("posternd.toml").display().to_string();
    let arguments = [
        "explain",
        "--live",
        "--for",
        "20s",
        "--interface",
        "gate2",
        "--json",
        "--config",
        &config,
    ];
    let live = Running::start(&world.gate, posternd().into(), &arguments);
    live.wait_for_note("on gate2; Ctrl-C ends it");
    world.first.send(Family::V4, &before);
    let told: Value = serde_json::from_str(&live.line()).unwrap();
    assert_eq!(
        (&told["reason"], &told["cause"]),
        (&"drop replay".into(), &"replay".into()),
        "{told}"
    );
    assert!(told["running_gate"]["admitted"].is_u64(), "{told}");
    world.first.knock("carol", Family::V4, &[]);
    let told: Value = serde_json::from_str(&live.line()).unwrap();
    assert_eq!(
        (&told["verdict"], &told["user"]),
        (&"admit".into(), &"carol".into()),
        "{told}"
    );
    assert!(told["running_gate"]["refused"].is_u64(), "{told}");
    let says = told["says"].as_str().unwrap();
    assert!(
        says.contains("; the running gate refused this very packet at 20")
            && says.contains("its log names the rule"),
        "{says}"
    );
    drop(live);

    let base64 =
        |packet: &[u8]| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, packet);
    let refused = knock("alice", GATE_NAME, SERVICE + 1, Duration::ZERO);
    world.first.send(Family::V4, &refused);
    world.daemon.wait_for_count("refuse services", 1);
    let said = text(
        &world
            .daemon
            .asked(&["explain", "--source", "10.77.0.2", &base64(&refused)]),
    );
    assert!(
        said.contains(
            ": refuse services (step 9): alice asked to open tcp/2223 for 10.77.0.2/32 (source): "
        ),
        "{said}"
    );
    assert!(
        said.contains("; the running gate refused this very packet at 20"),
        "{said}"
    );

    let packet = base64(&before);
    let said = text(&world.daemon.asked(&["explain", &packet]));
    assert!(said.starts_with("packet 1: drop replay (step 8): alice's key, but this very packet came before, admitted at 20"), "{said}");
    let status = world.daemon.status();
    assert_eq!(
        (status.admitted, status.marks),
        (2, 2),
        "to ask changes nothing"
    );
    assert!(world.daemon.stop().success());
    let fresh = text(&world.daemon.asked(&["explain", &packet]));
    assert!(
        fresh.starts_with("packet 1: admit: alice may open "),
        "nobody to ask, and not a word about it: {fresh}"
    );
}
