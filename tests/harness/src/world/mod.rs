//! The world of a test: a gate and two clients in network namespaces, joined by two links, with a real posternd.
//!
//! Makes it and removes it, even if a test panics: the daemon is stopped, the folder removed, and namespaces
//! have no names, so that the kernel removes them with their last user. Waits are on conditions, with a deadline.
//!
//! ```text
//!   first client: 10.77.0.2, fd77::2 == gate: 10.77.0.1, fd77::1, TCP 2222 == second client: 10.77.0.3, fd77::3
//! ```

use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use postern::adapters::files::write_private;
use rustix::process::Signal;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

mod backends;
pub mod checks;
mod client;
mod daemon;
mod gate_config;
mod knock_maker;
mod knock_stream;
mod look_alikes;
pub mod replaced_programs;

pub use backends::{Test, by_backend};
pub use client::{CLIENT_INTERFACE, Client, Ran, socket_for};
pub use daemon::{Captured, Daemon, Status};
pub(crate) use gate_config::folder;
pub use gate_config::{GATE_NAME, GateConfig, key, seed};
pub use knock_maker::KnockMaker;
pub use knock_stream::{KnockStream, with_crowd};
pub use look_alikes::{LookAlikes, Sources};

use crate::{Namespace, find, run, text, wait_for, wait_until};

/// UDP port of the knocks.
pub const KNOCK: u16 = 62201;
/// TCP port of the hidden service, on which the gate listens from the beginning.
pub const SERVICE: u16 = 2222;
/// Connections to it that may wait; the kernel allows as many by itself.
const BACKLOG: i32 = 4096;

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

pub const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

impl Family {
    /// The address of the gate (1) or of a client (2, 3).
    pub fn address(self, host: u8) -> IpAddr {
        match self {
            Self::V4 => IpAddr::from([10, 77, 0, host]),
            Self::V6 => IpAddr::from([0xfd77, 0, 0, 0, 0, 0, 0, u16::from(host)]),
        }
    }

    /// The name of the client's profile, and the client's option.
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
        }
    }
}

/// Everything of one test. Fields are dropped in their order.
pub struct World {
    pub daemon: Daemon,
    pub first: Client,
    pub second: Client,
    pub gate: Namespace,
    /// Accepts nothing by itself.
    pub service: TcpListener,
    backend: String,
    folder: TempDir,
}

impl World {
    /// Makes the links, opens the service, and starts posternd with this config.
    pub fn start(config: &GateConfig) -> Self {
        let mut world = Self::prepare(config);
        world.daemon.start(&world.gate);
        world
    }

    /// The same with posternd not yet started.
    pub fn prepare(config: &GateConfig) -> Self {
        let folder = folder("postern-gate-");
        config.write(folder.path());
        let gate = Namespace::new();
        let [first, second] = [2, 3].map(|host| client::join(&gate, host, folder.path()));
        let service = gate.run(serve);
        let mut daemon = Daemon::new(folder.path());
        daemon.level = if config.is_quiet { "info" } else { "debug" };
        Self {
            daemon,
            first,
            second,
            gate,
            service,
            backend: config.backend.clone(),
            folder,
        }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a private file into the folder.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder().join(name);
        write_private(&path, text.as_bytes(), true).unwrap();
        path
    }

    /// Puts a program into the folder.
    pub fn install(&self, name: &str, script: &str) {
        let path = self.folder().join(name);
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The lines of a file in the folder, none where it is missing.
    pub fn lines_in(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.folder().join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until a file in the folder has so many lines.
    pub fn wait_for_lines_in(&self, name: &str, count: usize) -> Vec<String> {
        wait_for(&format!("{count} lines in {name}"), || {
            Some(self.lines_in(name)).filter(|lines| lines.len() >= count)
        })
    }

    /// Replaces the config; posternd reads it at its next start.
    pub fn rewrite(&self, config: &GateConfig) {
        config.write(self.folder.path());
    }

    /// Starts posternd, at first or after it was stopped.
    pub fn start_again(&mut self) {
        self.daemon.start(&self.gate);
    }

    /// Stops posternd and starts it again.
    pub fn restart(&mut self) {
        assert!(self.daemon.stop().success());
        self.start_again();
    }

    /// Kills posternd and waits for its end.
    pub fn kill(&mut self) {
        self.daemon.signal(Signal::KILL);
        self.daemon.wait();
    }

    /// Runs a command of `posternd` in the gate's namespace. It must succeed; returns what it printed.
    pub fn at_gate(&self, arguments: &[&str]) -> String {
        let ran = self.daemon.at_gate(&self.gate, arguments);
        let errors = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{arguments:?}: {errors}");
        text(&ran)
    }

    /// Opens the service for the first client over both families and waits until it is open.
    pub fn open_both(&self, time: &str) {
        for family in FAMILIES {
            self.first.open("alice", family, &["--for", time]);
        }
    }

    /// What the kernel itself lists for grants: rules, and elements of sets.
    pub fn rules(&self) -> Vec<String> {
        let said = |program, arguments: &[&str]| text(&run(&self.gate, program, arguments));
        let elements = |listed: String| -> Vec<String> {
            let parts = listed.split([',', '\n']);
            let elements = parts.filter(|part| part.contains("expires"));
            elements.map(|part| part.trim().to_owned()).collect()
        };
        if self.backend == "nftables" {
            return elements(said("nft", &["list", "table", "inet", "postern"]));
        }
        let set = |name| said("nft", &["list", "set", "inet", "postern_live", name]);
        let chain = |program| said(program, &["-S", "POSTERN-GRANTS"]);
        let rules = ["iptables", "ip6tables"].map(chain).concat();
        let rules = rules.lines().filter(|line| line.starts_with("-A"));
        let rules = rules.map(str::to_owned);
        rules
            .chain(["grants4", "grants6"].map(set).map(elements).concat())
            .collect()
    }

    /// All rules of the firewall, without counters and times.
    pub fn firewall(&self) -> String {
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
    pub fn wait_until_closed(&self) {
        wait_until("every grant to end", || self.daemon.grants().is_empty());
    }

    /// Waits until this many grants are open, and returns them.
    pub fn wait_for_grants(&self, count: usize) -> Vec<postern::model::grant::Grant> {
        wait_for(&format!("{count} grants"), || {
            Some(self.daemon.grants()).filter(|grants| grants.len() == count)
        })
    }

    /// Fails unless nothing at all is open, as posternd and as the kernel say.
    pub fn expect_nothing_open(&self) {
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

/// A service that never accepts: its backlog holds all connections that a test may make.
fn serve() -> TcpListener {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket
        .bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, SERVICE)).into())
        .unwrap();
    socket.listen(BACKLOG).unwrap();
    socket.into()
}
