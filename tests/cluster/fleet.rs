//! Gates of one name, each with a link to the namespace of the coordinator, from which knocks come as well.
//!
//! ```text
//!   gate N: 10.78.N.2, TCP 2222 == 10.78.N.1: coordinator
//! ```

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Output;

use postern::adapters::files::write_private;
use postern_harness::clock::{set_clock, with_own_clock};
use postern_harness::world::{Daemon, key, seed};
use postern_harness::{GateConfig, KNOCK, KnockMaker, Namespace, SERVICE, text, wait_until};
use postern_proto::SharedKey;
use tempfile::TempDir;

use super::servers::Server;

pub(crate) struct Gate {
    pub(crate) daemon: Daemon,
    pub(crate) space: Namespace,
    number: u8,
    pub(crate) folder: TempDir,
}

pub(crate) struct Fleet {
    pub(crate) gates: Vec<Gate>,
    pub(crate) server: Option<Server>,
    pub(crate) space: Namespace,
    pub(crate) knocks: KnockMaker,
    kind: &'static str,
    socket: UdpSocket,
    _folder: TempDir,
}

pub(crate) fn folder() -> TempDir {
    let folder = tempfile::Builder::new()
        .prefix("postern-cluster-")
        .tempdir()
        .unwrap();
    // Engines of another user pass through.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), mode).unwrap();
    folder
}

impl Gate {
    fn start(number: u8, coordinator: &Namespace, section: &str, clock: Option<i64>) -> Self {
        let folder = folder();
        let space = Namespace::new();
        let there = coordinator.thread_id;
        space.ip(&format!(
            "link add up0 type veth peer name gate{number} netns {there}"
        ));
        for (end, name, host) in [
            (&space, "up0".to_owned(), 2),
            (coordinator, format!("gate{number}"), 1),
        ] {
            end.ip(&format!("addr add 10.78.{number}.{host}/24 dev {name}"));
            end.ip(&format!("link set {name} up"));
        }
        space.ip(&format!("route add default via 10.78.{number}.1"));
        space.wait_for_carrier("up0");
        write(folder.path(), section);
        let mut daemon = Daemon::new(folder.path());
        // Every knock that is refused after its decision is a line, also in a flood.
        daemon.level = "info,postern::flood=trace";
        daemon.through = clock.map(|ahead| {
            set_clock(folder.path(), ahead);
            with_own_clock(folder.path())
        });
        daemon.start(&space);
        Self {
            daemon,
            space,
            number,
            folder,
        }
    }

    /// What `posternd check` says of a config with this section. The gate keeps it for its next start.
    pub(crate) fn checked(&self, section: &str) -> String {
        write(self.folder.path(), section);
        text(&self.daemon.at_gate(&self.space, &["check"]))
    }

    /// Takes the config as it is now. Waits until its engine serves.
    pub(crate) fn reload(&self) {
        let before = self.daemon.logged(&["the engine serves"]).len();
        self.daemon.asked(&["reload"]);
        self.daemon
            .wait_for_lines(before + 1, &["the engine serves"]);
    }

    /// Whether a monitoring system sees this line.
    pub(crate) fn measures(&self, line: &str) -> bool {
        text(&self.daemon.asked(&["metrics"])).contains(line)
    }

    /// Runs a command with this gate's config, in its namespace.
    pub(crate) fn at_gate(&self, arguments: &[&str]) -> Output {
        self.daemon.at_gate(&self.space, arguments)
    }

    pub(crate) fn posternd(&self, arguments: &[&str]) -> Output {
        postern_harness::run(&self.space, postern_harness::posternd(), arguments)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("posternd.toml")
    }

    fn knock_port(&self) -> SocketAddr {
        SocketAddr::from(([10, 78, self.number, 2], KNOCK))
    }

    /// Whether it asks claims.
    pub(crate) fn is_back(&self) -> bool {
        let cluster = self.cluster();
        cluster.is_object() && cluster["away"].is_null()
    }

    /// What `posternd status --json` says of its cluster.
    pub(crate) fn cluster(&self) -> serde_json::Value {
        let said = text(&self.daemon.asked(&["status", "--json"]));
        let mut status: serde_json::Value = serde_json::from_str(&said).unwrap();
        status["cluster"].take()
    }
}

/// The words that the private key of each gate is made of.
pub(crate) const GATE_KEY: &str = "the gate";

fn write(folder: &Path, section: &str) {
    let config = GateConfig::empty("nftables")
        .member(
            "alice",
            "quota = \"1000/s\"\nmax_grants = 30000\nduration = \"1h\"",
        )
        .member("emergency", "break_glass = true")
        .gate("private_key = \"gate.key\"")
        .section(section);
    config.write(folder);
    let own = SharedKey::from_bytes(seed(GATE_KEY)).to_base64();
    for (name, key) in [("fleet.key", &*key("fleet")), ("gate.key", &*own)] {
        write_private(&folder.join(name), key.as_bytes(), true).unwrap();
    }
}

impl Fleet {
    pub(crate) fn start(kind: &'static str, gates: u8) -> Self {
        Self::start_with(kind, gates, "")
    }

    /// With these lines more in `[cluster]`.
    pub(crate) fn start_with(kind: &'static str, gates: u8, lines: &str) -> Self {
        let own = folder();
        let space = Namespace::new();
        let server = Server::start(kind, &space, own.path(), &[]);
        Self::join(space, own, Some(server), kind, gates, lines)
    }

    /// Beside a server at etcd's port of this namespace.
    pub(crate) fn beside(space: Namespace, gates: u8, lines: &str) -> Self {
        Self::join(space, folder(), None, "etcd", gates, lines)
    }

    pub(crate) fn join(
        space: Namespace,
        own: TempDir,
        server: Option<Server>,
        kind: &'static str,
        gates: u8,
        lines: &str,
    ) -> Self {
        let socket = space.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
        let mut fleet = Self {
            gates: Vec::new(),
            server,
            space,
            kind,
            knocks: KnockMaker::new("alice"),
            socket,
            _folder: own,
        };
        fleet.gates = (1..=gates)
            .map(|number| fleet.gate(number, lines))
            .collect();
        fleet.wait_until_back();
        fleet
    }

    /// One more gate.
    pub(crate) fn gate(&self, number: u8, lines: &str) -> Gate {
        Gate::start(number, &self.space, &self.section(number, lines), None)
    }

    /// One more gate, whose clock is so many seconds ahead.
    pub(crate) fn gate_ahead(&self, number: u8, lines: &str, seconds: i64) -> Gate {
        let section = self.section(number, lines);
        Gate::start(number, &self.space, &section, Some(seconds))
    }

    /// `[cluster]` of a gate, with these lines more.
    pub(crate) fn section(&self, number: u8, lines: &str) -> String {
        let is_secure = lines.contains("ca_file");
        let (kind, scheme, default) = match (self.kind, is_secure) {
            ("redis", false) => ("redis", "redis", 6379),
            ("redis", true) => ("redis", "rediss", 6379),
            (_, false) => ("etcd", "http", 2379),
            (_, true) => ("etcd", "https", 2379),
        };
        // A busy machine takes longer than the default.
        let is_set = lines.contains("deadline");
        let deadline = if is_set { "" } else { "deadline = \"2s\"" };
        // All reach it at an address that its certificate names.
        let host = if is_secure { 1 } else { number };
        let ports: Vec<u16> = match &self.server {
            Some(server) => server.ports().collect(),
            None => vec![default],
        };
        let endpoint = |port| format!("\"{scheme}://10.78.{host}.1:{port}\"");
        let endpoints: Vec<String> = ports.into_iter().map(endpoint).collect();
        format!(
            "[cluster]\ncoordinator = \"{kind}\"\nendpoints = [{}]\n\
             member = \"gate{number}\"\n{deadline}\n{lines}\n",
            endpoints.join(", ")
        )
    }

    pub(crate) fn server(&mut self) -> &mut Server {
        self.server.as_mut().expect("no server of its own")
    }

    pub(crate) fn with_server(&mut self, act: impl FnOnce(&mut Server, &Namespace)) {
        let Self { server, space, .. } = self;
        act(server.as_mut().expect("no server of its own"), space);
    }

    /// Starts the coordinator with what it kept.
    pub(crate) fn start_server(&mut self) {
        self.with_server(|server, space| server.start_again(space));
    }

    /// A knock made now, which opens for this host of 192.0.2.0/24 or, above 255, of the networks behind it.
    pub(crate) fn knock(&self, host: u16) -> Vec<u8> {
        let [high, low] = host.to_be_bytes();
        self.knocks.open([10, 99, high, low].into(), SERVICE, 3600)
    }

    /// The same datagram to every gate at once.
    pub(crate) fn deliver(&self, knock: &[u8]) {
        for gate in &self.gates {
            self.deliver_to(gate, knock);
        }
    }

    pub(crate) fn deliver_to(&self, gate: &Gate, knock: &[u8]) {
        self.socket.send_to(knock, gate.knock_port()).unwrap();
    }

    pub(crate) fn wait_until_back(&self) {
        for gate in &self.gates {
            wait_until("the coordinator to answer", || gate.is_back());
        }
    }

    /// How many grants are open, at all gates together.
    pub(crate) fn grants(&self) -> usize {
        self.gates
            .iter()
            .map(|gate| gate.daemon.grants().len())
            .sum()
    }

    /// How often this reason was given, at all gates together.
    pub(crate) fn count(&self, reason: &str) -> u64 {
        self.gates
            .iter()
            .map(|gate| gate.daemon.status().count(reason))
            .sum()
    }
}
