//! What a gate's config says besides users: plain values that the adapters and processes take.
//!
//! Reading them from TOML is the config module's; nothing here touches a file.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use postern_proto::GateName;

use crate::model::address;
use crate::model::catalog::{Forward, NamedServices, OpenPorts, ServiceOptions};
use crate::model::command_template::CommandTemplate;
use crate::model::endpoint::Endpoint;
use crate::model::policy::Policy;
use crate::model::service::Ports;

/// The most UDP ports that knocks may come to: each costs the kernel's filter an instruction for every packet.
pub const PORTS_MAX: usize = 16;

/// The most interfaces that may be named. Each has a socket, and an engine gets all of its descriptors in one message, which has room for
/// 64: half of them are for interfaces, far more than the config, the control socket and what else there is leave over.
pub const INTERFACES_MAX: usize = 32;

/// The `[gate]` section.
#[derive(Debug, Clone)]
pub struct Gate {
    /// Part of every key.
    pub name: GateName,
    /// UDP ports that knocks come to, in order, 1 to [`PORTS_MAX`].
    pub ports: Vec<u16>,
    /// Where clients send to, for their profiles; the daemon itself makes no use of it.
    pub addresses: Vec<Endpoint>,
    /// Where to listen.
    pub interfaces: Interfaces,
    /// Greatest difference of clocks, 5 s to 5 min.
    pub window: Duration,
    /// The engine's own directory.
    pub state_dir: PathBuf,
    /// Where `posternd status` and the like ask.
    pub control_socket: PathBuf,
    /// The engine's user.
    pub run_as: String,
    /// How datagrams are captured.
    pub capture: CaptureKind,
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interfaces {
    /// On every interface, also those that come later.
    Any,
    /// On these, at most [`INTERFACES_MAX`], which may come and go.
    Named(Vec<String>),
}

/// How datagrams are captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaptureKind {
    /// Passively, through a packet socket.
    Packet,
    /// Through a bound UDP socket that never answers.
    Udp,
}

/// The `[firewall]` section.
#[derive(Debug, Clone)]
pub struct Firewall {
    /// Which driver.
    pub backend: DriverKind,
    /// Whether services are closed for everyone who holds no grant.
    pub protect: bool,
    /// What happens to the rules when the monitor stops.
    pub on_stop: OnStop,
    /// The `[firewall.command]` section; there with [`DriverKind::Command`].
    pub command: Option<CommandPrograms>,
}

/// The programs of the driver that runs programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandPrograms {
    /// Opens one service of a grant, or moves its end. Running it again is harmless.
    pub open: CommandTemplate,
    /// Closes one service of a grant. Closing what is closed already is done.
    pub close: CommandTemplate,
    /// Prints the number of each grant that is open, one a line; `None`: what was opened is believed to be open.
    pub list: Option<CommandTemplate>,
    /// How long each may take.
    pub deadline: Duration,
}

/// Which firewall driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriverKind {
    /// iptables where the program is there, else native nftables.
    Auto,
    /// Through `iptables-restore` and `ip6tables-restore`.
    Iptables,
    /// Over netlink.
    Nftables,
    /// Through programs that the config names.
    Command,
}

/// What happens to the rules when the monitor stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStop {
    /// Grants run out, protection stays: fail closed.
    Keep,
    /// Everything is taken out.
    Remove,
}

/// The `[metrics]` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// The file for a node exporter.
    pub file: Option<PathBuf>,
    /// How often it is written.
    pub interval: Duration,
    /// A loopback address that answers over HTTP.
    pub listen: Option<SocketAddr>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            file: None,
            interval: Duration::from_secs(15),
            listen: None,
        }
    }
}

/// All that both processes know of a config, without any key.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The `[gate]` section.
    pub gate: Gate,
    /// The `[firewall]` section.
    pub firewall: Firewall,
    /// The `[metrics]` section.
    pub metrics: Metrics,
    /// The `[service.NAME]` sections.
    pub named: NamedServices,
    /// What those sections say besides ports, by name.
    pub options: BTreeMap<String, ServiceOptions>,
    /// A policy a user, in the order of the files; names are unique.
    pub policies: Vec<Policy>,
    /// Users that are disabled: nobody at all to the gate, but what they could open stays closed.
    pub disabled: Vec<Policy>,
}

/// What the firewall must do besides letting grants through.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Protection {
    /// Ports that some user may open and that are closed for everyone else; empty with `protect = "none"`.
    pub services: Vec<Ports>,
    /// UDP ports that knocks come to.
    pub knock_ports: Vec<u16>,
    /// True where a packet socket reads them: the kernel must not answer for a closed port. False where a bound socket must receive them.
    pub silence_knocks: bool,
    /// What users may open at hosts behind the gate, in order: each network with its ports, joined. What is established there lives on.
    pub behind: Vec<(IpNet, Ports)>,
    /// Whether `behind` is closed for everyone who holds no grant; false with `protect = "none"`.
    pub hide_behind: bool,
    /// The forwards that some user may open, in order.
    pub forwards: Vec<Forward>,
}

impl Protection {
    /// What is closed for everyone who holds no grant, as the log says it; empty where nothing is.
    pub fn closed(&self) -> String {
        const NAMED: usize = 8;
        let hidden = if self.hide_behind {
            self.behind.as_slice()
        } else {
            &[]
        };
        let services = self.services.iter().map(ToString::to_string);
        let mut closed: Vec<String> = services
            .chain(
                hidden
                    .iter()
                    .take(NAMED)
                    .map(|(network, ports)| format!("{ports} at {network}")),
            )
            .collect();
        match hidden.len().saturating_sub(NAMED) {
            0 => {}
            more => closed.push(format!("and {more} more behind the gate")),
        }
        closed.join(", ")
    }
}

impl Settings {
    /// What the firewall must do for these settings.
    pub fn protection(&self) -> Protection {
        let at_gate = self
            .everyone()
            .filter_map(|policy| crate::model::policy::ports_of(&policy.services, &self.named))
            .flatten();
        let (behind, forwards) = self.behind();
        Protection {
            services: if self.firewall.protect {
                crate::model::service::joined(at_gate.collect())
            } else {
                Vec::new()
            },
            knock_ports: self.gate.ports.clone(),
            silence_knocks: self.gate.capture == CaptureKind::Packet,
            behind,
            hide_behind: self.firewall.protect,
            forwards,
        }
    }

    /// All users, disabled or not: a service must not open to everyone because the one who may use it is disabled.
    fn everyone(&self) -> impl Iterator<Item = &Policy> {
        self.policies.iter().chain(&self.disabled)
    }

    /// What users may open at hosts behind the gate, and by which forwards.
    fn behind(&self) -> (Vec<(IpNet, Ports)>, Vec<Forward>) {
        let mut behind: BTreeMap<IpNet, Vec<Ports>> = BTreeMap::new();
        let mut forwards = Vec::new();
        for policy in self.everyone() {
            let opening =
                OpenPorts::of(&policy.services, &self.named, &self.options).unwrap_or_default();
            for target in &policy.targets {
                behind
                    .entry(target.trunc())
                    .or_default()
                    .extend_from_slice(&opening.services);
            }
            forwards.extend(opening.forwards);
        }
        forwards.sort_unstable();
        forwards.dedup();
        for forward in &forwards {
            behind
                .entry(address::host(forward.host))
                .or_default()
                .push(forward.inner());
        }
        let joined = |(network, ports)| {
            crate::model::service::joined(ports)
                .into_iter()
                .map(move |ports| (network, ports))
        };
        (behind.into_iter().flat_map(joined).collect(), forwards)
    }
}
