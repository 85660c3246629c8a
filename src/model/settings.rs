//! The settings of a gate's config, and what the firewall must do for them. `adapters::config` reads them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use postern_proto::GateName;
use serde::{Deserialize, Serialize};

use crate::model::address;
use crate::model::catalog::{self, Catalog, Forward, OpenPorts};
use crate::model::cluster::Cluster;
use crate::model::command_template::CommandTemplate;
use crate::model::endpoint::Endpoint;
use crate::model::host_set::ServiceSets;
use crate::model::packet_mark::PacketMark;
use crate::model::policies::Policies;
use crate::model::policy::Policy;
use crate::model::roster::RosterSettings;
use crate::model::sensor::Sensor;
use crate::model::sequence_ports::SequencePorts;
use crate::model::service::Ports;

/// The greatest clock difference of a client of fwknop, whose packets carry whole seconds.
pub(crate) const FWKNOP_WINDOW: Duration = Duration::from_secs(120);

/// The most knock ports: each costs the kernel's filter an instruction a packet.
pub(crate) const PORTS_MAX: usize = 16;

/// The most named interfaces. Each has a socket, and an engine gets all its descriptors in one message of at most 64.
pub(crate) const INTERFACES_MAX: usize = 32;

/// The `[gate]` section.
#[derive(Debug, Clone)]
pub struct Gate {
    /// Part of every key.
    pub name: GateName,
    /// Knock ports (UDP), in order, 1 to `PORTS_MAX`.
    pub ports: Vec<u16>,
    /// Addresses for the profiles of clients; the daemon does not use them.
    pub addresses: Vec<Endpoint>,
    pub interfaces: Interfaces,
    /// The greatest clock difference, 5 s to 5 min.
    pub window: Duration,
    /// The engine's own directory.
    pub state_dir: PathBuf,
    /// The socket of `posternd status` and other commands.
    pub control_socket: PathBuf,
    /// The engine's user.
    pub run_as: String,
    /// How datagrams are captured.
    pub capture: CaptureKind,
    /// Where the hits of sequences come from, if not from the capture.
    pub log_sensor: Option<LogSensor>,
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interfaces {
    /// On every interface, also on later ones.
    Any,
    /// On these, at most `INTERFACES_MAX`, which may come and go.
    Named(Vec<String>),
}

/// How datagrams are captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaptureKind {
    /// Passively, through a packet socket.
    Packet,
    /// Through a bound UDP socket that never answers.
    Udp,
    /// From this group of NFLOG, to which Postern's own rules send the packets.
    Nflog(u16),
    /// Not at all: only sequences open, and the log sensor sees their hits.
    None,
}

impl CaptureKind {
    /// The group of NFLOG that it reads.
    pub(crate) fn nflog_group(self) -> Option<u16> {
        match self {
            Self::Nflog(group) => Some(group),
            Self::Packet | Self::Udp | Self::None => None,
        }
    }
}

/// Log lines of the firewall that are hits of sequences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSensor {
    pub source: LogSource,
    /// What the log rule puts before each line: 1 to 127 printable ASCII characters.
    pub prefix: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogSource {
    /// The kernel's log, `/dev/kmsg`.
    Kmsg,
    /// The kernel's messages in the journal.
    Journal,
    /// A file of the syslog daemon. Any local user can forge its lines.
    File(PathBuf),
}

impl fmt::Display for LogSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kmsg => f.write_str("kmsg"),
            Self::Journal => f.write_str("journal"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// The `[firewall]` section.
#[derive(Debug, Clone)]
pub struct Firewall {
    pub backend: DriverKind,
    /// Whether services are closed for everyone without a grant.
    pub protect: bool,
    pub on_stop: OnStop,
    /// The packet mark of granted packets.
    pub packet_mark: PacketMark,
    pub host_rules: HostRules,
    /// Where the engine gets the packets that the rules drop.
    pub nflog_group: NflogGroup,
    pub command: Option<CommandPrograms>,
}

/// Which group of NFLOG gets the headers of dropped packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NflogGroup {
    /// The next free one, which the monitor finds when it starts.
    #[default]
    Auto,
    None,
    Group(u16),
}

/// Who keeps the rules in the host's own chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HostRules {
    /// Postern inserts them, and removes them.
    #[default]
    Postern,
    /// The administrator; Postern only checks them.
    Mine,
}

/// The programs of the command driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandPrograms {
    /// Opens one service of a grant, or moves its end; may run twice.
    pub open: CommandTemplate,
    /// Closes one service of a grant; may run twice.
    pub close: CommandTemplate,
    /// Prints the number of each open grant on a line; `None`: opened grants count as open.
    pub list: Option<CommandTemplate>,
    /// The most time of one run.
    pub deadline: Duration,
}

/// Which firewall driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriverKind {
    /// nftables if the kernel has it, otherwise iptables.
    Auto,
    /// Through `iptables-restore` and `ip6tables-restore`.
    Iptables,
    /// Over netlink.
    Nftables,
    Command,
}

/// What happens to the rules when the monitor stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStop {
    /// Grants run out, protection stays: fail closed.
    Keep,
    /// All rules are removed.
    Remove,
}

/// The `[metrics]` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// The file for a node exporter.
    pub file: Option<PathBuf>,
    pub(crate) interval: Duration,
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

/// All that monitor and engine know of a config, without keys.
#[derive(Debug, Clone)]
pub struct Settings {
    pub gate: Gate,
    pub firewall: Firewall,
    pub metrics: Metrics,
    /// `None`: this gate is alone with its name.
    pub cluster: Option<Cluster>,
    pub catalog: Catalog,
    /// One policy for each user; names are unique. Users with keys of ours come first, then those of fwknop's clients, then those of
    /// sequences.
    pub policies: Policies,
    /// How many of them knock with a client of fwknop.
    pub fwknop_users: usize,
    /// Those of them whose packets have no HMAC.
    pub without_hmac: Vec<String>,
    /// What the capture and the firewall must do for users who knock with a sequence.
    pub sequences: SequencePorts,
    /// Disabled users: the gate drops their knocks, and their services stay closed.
    pub disabled: Policies,
    /// Where more users come from.
    pub roster: Option<RosterSettings>,
    /// What users of earlier rosters could open. It stays closed, and nobody opens it.
    pub kept_closed: Vec<Policy>,
}

/// What the firewall must do besides the grants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Protection {
    /// Ports that some user may open, closed for everyone without a grant; empty with `protect = "none"`.
    pub services: Vec<Ports>,
    pub knock_ports: Vec<u16>,
    /// Ports of sequences, which answer nobody.
    pub sequence_ports: Vec<Ports>,
    /// Whether a packet socket reads the knocks: then the kernel must not answer them, and no bound socket needs them.
    pub silence_knocks: bool,
    /// Whether packets to a knock port pass to a socket of this host that uses the same port, such as a resolver's.
    pub local_sockets: bool,
    /// Knock ports that sockets of this host use now, for a driver that cannot match sockets.
    pub busy_ports: Vec<BusyPort>,
    /// Ports of sequences that sockets of this host use now, for such a driver.
    pub busy_sequence_ports: Vec<Ports>,
    /// What users may open behind the gate, in order: each network with its joined ports. Established connections stay.
    pub behind: Vec<(IpNet, Ports)>,
    /// Ports of the gate that some user may open, and those that a redirect leads to, also with `protect = "none"`.
    pub grantable: Vec<Ports>,
    /// The packet mark of granted packets.
    pub packet_mark: PacketMark,
    /// Which granted packets need the mark, and where.
    pub marking: Marking,
    /// Whether `behind` is closed for everyone without a grant; false with `protect = "none"`.
    pub hide_behind: bool,
    /// The forwards that some user may open, in order.
    pub forwards: Vec<Forward>,
    /// The services whose grants are added to sets of the host.
    pub sets: Vec<ServiceSets>,
    /// The group of NFLOG that gets the headers of some of the dropped packets.
    pub nflog_group: Option<u16>,
    /// What the rules send to the engine, in place of a packet socket.
    pub sensor: Option<Sensor>,
}

/// A knock port that a socket of this host uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusyPort {
    /// The port.
    pub port: u16,
    /// Whether only this host reaches the socket.
    pub is_local: bool,
}

/// What the host's own chains need beside the mark on new packets in Postern's usual place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marking {
    /// A chain before that place drops granted packets.
    pub early: bool,
    /// A chain may drop packets of established connections to the gate.
    pub established: bool,
    /// A chain may drop packets of established connections to hosts behind it.
    pub established_behind: bool,
}

impl Protection {
    pub(crate) fn busy_port(&self, port: u16) -> Option<BusyPort> {
        let mut busy = self.busy_ports.iter().copied();
        busy.find(|busy| busy.port == port)
    }

    /// The silent knock ports at which a socket of this host may receive: those that are not hidden as a service.
    pub(crate) fn socket_ports(&self) -> impl Iterator<Item = u16> {
        let is_hidden = |port: u16| {
            let covers = |service: &Ports| {
                let range = service.range().filter(|_| service.protocol_name() == "udp");
                range.is_some_and(|(first, last)| (first..=last).contains(&port))
            };
            self.services.iter().any(covers)
        };
        let is_used = self.silence_knocks && self.local_sockets;
        let ports = self.knock_ports.iter().copied();
        ports.filter(move |port| is_used && !is_hidden(*port))
    }

    /// For the log: what is closed for everyone without a grant; empty if nothing is.
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

/// The monitor's own directory. It is beside the engine's, because the owner of a directory can replace the files in it.
pub(crate) fn monitor_path(state_dir: &Path) -> PathBuf {
    let mut name = state_dir.as_os_str().to_owned();
    name.push(".monitor");
    PathBuf::from(name)
}

/// The gate name that is in a user's keys.
#[derive(Debug)]
pub struct GateNames {
    shared: GateName,
    /// What no other gate of the cluster has.
    own: Option<GateName>,
}

impl GateNames {
    /// A user who needs no coordinator has the name of this gate alone.
    pub fn of(&self, policy: &Policy) -> &GateName {
        let own = self.own.as_ref().filter(|_| policy.break_glass);
        own.unwrap_or(&self.shared)
    }
}

impl Settings {
    /// What the firewall must do for these settings.
    pub fn protection(&self) -> Protection {
        let at_gate: Vec<Ports> = self
            .everyone()
            .filter_map(|policy| crate::model::policy::ports_of(&policy.services, &self.catalog))
            .flatten()
            .collect();
        let grantable = crate::model::service::joined(at_gate);
        let (behind, forwards) = self.behind();
        Protection {
            services: if self.firewall.protect {
                grantable.clone()
            } else {
                Vec::new()
            },
            knock_ports: match self.gate.capture {
                CaptureKind::None => Vec::new(),
                _ => self.gate.ports.clone(),
            },
            sequence_ports: self.sequences.ports.clone(),
            silence_knocks: matches!(
                self.gate.capture,
                CaptureKind::Packet | CaptureKind::Nflog(_)
            ),
            local_sockets: true,
            busy_ports: Vec::new(),
            busy_sequence_ports: Vec::new(),
            behind,
            grantable,
            packet_mark: self.firewall.packet_mark,
            marking: Marking::default(),
            hide_behind: self.firewall.protect,
            forwards,
            sets: catalog::sets(&self.catalog),
            nflog_group: match self.firewall.nflog_group {
                NflogGroup::Group(group) => Some(group),
                NflogGroup::Auto | NflogGroup::None => None,
            },
            sensor: self
                .gate
                .capture
                .nflog_group()
                .map(|group| Sensor::new(group, self.fwknop_users > 0, self.sequences.only_syn)),
        }
    }

    /// The gate names in the keys of users.
    pub fn gate_names(&self) -> GateNames {
        let member = self.cluster.as_ref();
        GateNames {
            shared: self.gate.name.clone(),
            own: member.and_then(|cluster| GateName::new(&cluster.member).ok()),
        }
    }

    /// How long any user's knock counts.
    pub(crate) fn longest_window(&self) -> Duration {
        if self.fwknop_users == 0 {
            self.gate.window
        } else {
            self.gate.window.max(FWKNOP_WINDOW)
        }
    }

    /// The longest grant that a policy allows.
    pub(crate) fn longest_grant(&self) -> Duration {
        let policies = self.policies.with_distinct_rules();
        policies
            .map(|policy| policy.max_duration)
            .max()
            .unwrap_or_default()
    }

    /// The rules of all users, also of disabled and former ones: without a user, a service must not be open to everyone.
    fn everyone(&self) -> impl Iterator<Item = &Policy> {
        let disabled = self.disabled.with_distinct_rules();
        let all = self.policies.with_distinct_rules().chain(disabled);
        all.chain(&self.kept_closed)
    }

    /// What users may open behind the gate, and the forwards for it.
    fn behind(&self) -> (Vec<(IpNet, Ports)>, Vec<Forward>) {
        let mut behind: BTreeMap<IpNet, Vec<Ports>> = BTreeMap::new();
        let mut forwards = Vec::new();
        for policy in self.everyone() {
            let open = OpenPorts::of(&policy.services, &self.catalog).unwrap_or_default();
            for target in &policy.targets {
                behind
                    .entry(target.trunc())
                    .or_default()
                    .extend_from_slice(&open.services);
            }
            forwards.extend(open.forwards);
        }
        forwards.sort_unstable();
        forwards.dedup();
        for forward in &forwards {
            if let Some(host) = forward.host {
                let ports = behind.entry(address::host(host)).or_default();
                ports.push(forward.inner());
            }
        }
        let joined = |(network, ports)| {
            crate::model::service::joined(ports)
                .into_iter()
                .map(move |ports| (network, ports))
        };
        (behind.into_iter().flat_map(joined).collect(), forwards)
    }
}
