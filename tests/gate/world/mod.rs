//! The world of a test: a gate and two clients in network namespaces, joined by two cables, with a real posternd.
//!
//! Owns making it and taking it down, also when a test panics: the daemon is stopped, the folder removed, and namespaces
//! have no names, so that the kernel removes them with their last user. Waits are on conditions, with a deadline.
//! `main.rs` draws the topology.
#![allow(
    dead_code,
    reason = "other tests that share this world use other parts of it"
)]

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

mod client;
mod daemon;
pub(crate) mod fake;
mod maker;
#[path = "../../netns/mod.rs"]
pub(crate) mod netns;
mod plan;

/// Not every test that shares this world needs all of it.
#[allow(unused_imports)]
mod shared {
    pub(crate) use super::client::{Client, POSTERN, Ran, WIRE, lay, socket_for};
    pub(crate) use super::daemon::{Daemon, Status};
    pub(crate) use super::maker::Maker;
    pub(crate) use super::netns::ground::find;
    pub(crate) use super::plan::{GATE_NAME, Plan, key, seed};
}
use netns::Namespace;
#[allow(unused_imports)]
pub(crate) use shared::*;

/// UDP port of the knocks.
pub(crate) const KNOCK: u16 = 62201;
/// TCP port of the hidden service, on which the gate listens from the beginning.
pub(crate) const SERVICE: u16 = 2222;
/// Connections to it that may wait; the kernel allows as many by itself.
const BACKLOG: i32 = 4096;
/// How long a condition is waited for. Long, for the machine may be busy; nothing waits that long where all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

pub(crate) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

impl Family {
    /// The address of the gate (1) or of a client (2, 3).
    pub(crate) fn address(self, host: u8) -> IpAddr {
        match self {
            Self::V4 => IpAddr::from([10, 77, 0, host]),
            Self::V6 => IpAddr::from([0xfd77, 0, 0, 0, 0, 0, 0, u16::from(host)]),
        }
    }

    /// The name of the client's profile, and the client's option.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
        }
    }
}

/// Everything of one test. The order of the fields is the order in which it is taken down.
pub(crate) struct World {
    pub(crate) daemon: Daemon,
    pub(crate) first: Client,
    pub(crate) second: Client,
    pub(crate) gate: Namespace,
    service: TcpListener,
    backend: String,
    folder: TempDir,
}

impl World {
    /// Lays the cables, opens the service, and starts posternd with this config.
    pub(crate) fn start(plan: &Plan) -> Self {
        let mut world = Self::prepare(plan);
        world.daemon.start(&world.gate);
        world
    }

    /// The same with posternd not yet started.
    pub(crate) fn prepare(plan: &Plan) -> Self {
        let folder = plan::folder();
        plan.write(folder.path());
        let gate = Namespace::new();
        let [first, second] = [2, 3].map(|host| client::join(&gate, host, folder.path()));
        let service = gate.run(serve);
        let mut daemon = Daemon::new(folder.path());
        daemon.level = if plan.is_quiet { "info" } else { "debug" };
        Self {
            daemon,
            first,
            second,
            gate,
            service,
            backend: plan.backend.clone(),
            folder,
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes the config anew; posternd reads it at its next start.
    pub(crate) fn rewrite(&self, plan: &Plan) {
        plan.write(self.folder.path());
    }

    /// Cuts the first client's cable and lays a new one.
    pub(crate) fn replace_cable(&self) {
        self.gate.ip("link del gate2");
        self.first.lay_cable(&self.gate);
    }

    /// Starts posternd, at first or after it was stopped.
    pub(crate) fn start_again(&mut self) {
        self.daemon.start(&self.gate);
    }

    /// The grants that the kernel itself lists: a rule each, or an element of a set each.
    pub(crate) fn rules(&self) -> Vec<String> {
        let said = |program, arguments: &[&str]| text(&run(&self.gate, program, arguments));
        if self.backend == "nftables" {
            let table = said("nft", &["list", "table", "inet", "postern"]);
            return table
                .split([',', '\n'])
                .filter(|part| part.contains("expires"))
                .map(|part| part.trim().to_owned())
                .collect();
        }
        let chains =
            ["iptables", "ip6tables"].map(|program| said(program, &["-S", "POSTERN-GRANTS"]));
        chains
            .iter()
            .flat_map(|said| said.lines())
            .filter(|line| line.starts_with("-A"))
            .map(str::to_owned)
            .collect()
    }

    /// All that stands in the firewall, of anyone, without counters and times.
    pub(crate) fn firewall(&self) -> String {
        let saved = [
            ("iptables-save", &[][..]),
            ("ip6tables-save", &[]),
            ("nft", &["--stateless", "list", "ruleset"]),
        ];
        let there = saved.iter().filter(|(program, _)| find(program).is_some());
        let saved: String = there
            .map(|(program, arguments)| text(&run(&self.gate, program, arguments)))
            .collect();
        let kept = saved
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split(" [").next().unwrap_or(line));
        kept.collect::<Vec<_>>().join("\n")
    }

    /// Waits until nothing is open any more.
    pub(crate) fn wait_until_closed(&self) {
        wait_for("every grant to end", || {
            self.daemon.grants().is_empty().then_some(())
        });
    }

    /// Waits until this many grants are open, and returns them.
    pub(crate) fn wait_for_grants(&self, count: usize) -> Vec<postern::model::grant::Grant> {
        wait_for(&format!("{count} grants"), || {
            Some(self.daemon.grants()).filter(|grants| grants.len() == count)
        })
    }

    /// Fails unless nothing at all is open, as posternd and as the kernel say.
    pub(crate) fn expect_nothing_open(&self) {
        assert_eq!(
            self.daemon.grants(),
            [],
            "posternd says that something is open"
        );
        assert_eq!(
            self.rules(),
            Vec::<String>::new(),
            "the kernel lists a grant"
        );
    }
}

/// A service that takes nobody in: connections stay as they are, and there is room for all that a test may make.
fn serve() -> TcpListener {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket
        .bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, SERVICE)).into())
        .unwrap();
    socket.listen(BACKLOG).unwrap();
    socket.into()
}

/// Asks every 20 ms until there is an answer.
pub(crate) fn wait_for<R>(what: &str, mut ask: impl FnMut() -> Option<R>) -> R {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a program in a namespace to its end, with no input.
pub(crate) fn run(space: &Namespace, program: &str, arguments: &[&str]) -> Output {
    let path = find(program).unwrap_or_else(|| panic!("the program {program} is missing"));
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    space.run(move || {
        Command::new(path)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    })
}

/// What a program wrote to standard output.
pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
