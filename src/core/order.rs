//! The messages between engine and monitor, one in each datagram of their socket pair.
//!
//! The engine may be hostile. So an order can ask only for what a user may ask for, the monitor checks it again
//! (invariant 5), and a message that is too long or not exactly of its type is an error. JSON is readable in a trace.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::model::counters::{EngineCounters, MonitorCounters};
use crate::model::grant::{Grant, GrantId, ListedGrant};
use crate::model::harmless::harmless_json;
use crate::model::reason::Rule;
use crate::model::request::{CloseRequest, OpenRequest};
use crate::model::self_test::FirewallState;
use crate::model::settings::LogSource;

/// Longest message, in bytes.
pub const MESSAGE_MAX: usize = 65_536;

/// Grants in one message.
pub const PAGE: usize = 100;

/// What the engine may ask of the monitor. The report repeats the `ticket`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Order {
    /// The engine is loaded: it has keys, the first hint table and its captures. It waits for [`Report::Go`], because
    /// only one engine can have the store open.
    Loaded,
    /// The engine serves: the store is open, too.
    Ready,
    Open {
        ticket: u64,
        request: OpenRequest,
    },
    /// An [`Order::Open`] with this content follows when its mark is durable. Until then the monitor prepares it and opens nothing.
    Announced {
        ticket: u64,
        request: OpenRequest,
    },
    /// Open what another gate of this name has admitted.
    Share {
        ticket: u64,
        request: OpenRequest,
    },
    /// Close a user's own grants.
    Close {
        ticket: u64,
        request: CloseRequest,
    },
    /// Close grants for the administrator.
    End {
        ticket: u64,
        which: Selection,
    },
    /// Confirm a trial run: the firewall rules stay.
    Confirm {
        ticket: u64,
    },
    /// Report the open grants.
    List {
        ticket: u64,
    },
    /// Read the config again, as SIGHUP does. A fresh engine replaces this one.
    Reload {
        ticket: u64,
    },
    /// Report the monitor's counters: the report is [`Report::Measured`].
    Measure {
        ticket: u64,
    },
    /// Report what the host's rules do with each service.
    Firewall {
        ticket: u64,
    },
    /// The engine's counters: the answer to [`Report::Measure`], and a sign of life.
    Measured(Box<EngineCounters>),
}

/// The outcome of a reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reloaded {
    Done,
    /// Another reload is running: ask again.
    Busy,
    /// The new config is invalid and the old one stays active. One line for each problem.
    Refused(String),
}

/// The grants that an administrator selects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Selection {
    All,
    User(String),
    /// Those that allow this address.
    Address(std::net::IpAddr),
    Id(GrantId),
    Ids(BTreeSet<GrantId>),
}

impl Selection {
    pub fn includes(&self, grant: &Grant) -> bool {
        self.selects(Some(grant.id), &grant.user, &grant.allow)
    }

    /// Whether it selects a grant; `id` is `None` if this gate does not have it.
    pub(crate) fn selects(&self, id: Option<GrantId>, user: &str, allow: &IpNet) -> bool {
        match self {
            Self::All => true,
            Self::User(wanted) => user == wanted,
            Self::Address(address) => allow.contains(address),
            Self::Id(wanted) => id == Some(*wanted),
            Self::Ids(wanted) => id.is_some_and(|id| wanted.contains(&id)),
        }
    }
}

/// What the monitor answers, and what it says unasked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Report {
    /// No other engine has the store open: open it and serve.
    Go,
    /// Another engine takes over: accept no more knocks, finish the pending ones, and exit.
    Finish,
    /// Report the engine's counters. Asked regularly: an engine that does not answer hangs.
    Measure,
    /// The named interface of a capture has this index now; 0: it is missing.
    Interface {
        name: String,
        index: u32,
    },
    /// The state of the log sensor. With it may come the file that replaces the one that is read.
    LogSensor {
        /// Why no lines come now.
        lost: Option<String>,
        /// How often its program was started again.
        restarts: u64,
    },
    /// The link to a cluster process that has just started comes with it.
    Cluster {
        /// This gate among those of its name.
        member: String,
        /// The version of the roster in force, 0 for none; `None`: the gate takes none from the coordinator.
        roster: Option<u64>,
    },
    /// Grants were closed: by their ids, or neither by a user nor by the administrator. A reload took their policy away, or somebody
    /// removed them from a set of the host.
    Ended {
        /// At most [`PAGE`], without their services.
        grants: Vec<Grant>,
    },
    /// The firewall opened the grant.
    Opened {
        ticket: u64,
        grant: Grant,
    },
    Closed {
        ticket: u64,
        count: usize,
    },
    /// The order was not carried out.
    Refused {
        ticket: u64,
        rule: Rule,
        why: String,
    },
    /// The trial is confirmed.
    Confirmed {
        ticket: u64,
        trial: bool,
    },
    /// Some of the open grants.
    Grants {
        ticket: u64,
        /// At most [`PAGE`].
        grants: Vec<ListedGrant>,
        /// Whether another message follows.
        more: bool,
    },
    Reloaded {
        ticket: u64,
        outcome: Reloaded,
    },
    /// The monitor's counters: the answer to [`Order::Measure`].
    Measured {
        ticket: u64,
        tally: MonitorCounters,
    },
    Firewall {
        ticket: u64,
        state: FirewallState,
    },
}

/// The first message to a new engine. Descriptors are attached in this order: config, control socket, captures,
/// metrics listener, dropped packets, hint filter maps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// User and group to change to; `None`: keep the present ones.
    pub run_as: Option<(u32, u32)>,
    /// The number of users, for the engine's limits.
    pub users: usize,
    /// One for each capture descriptor.
    pub captures: Vec<CaptureSpec>,
    /// The firewall driver's name, for `posternd status`.
    pub backend: String,
    pub daemon_uptime_ms: u64,
    /// The version of the roster in the config.
    pub roster_version: Option<u64>,
    /// The engine's own directory, the only one that it may use.
    pub state_dir: PathBuf,
    /// Whether the maps of the captures' hint filter come last: two, or three.
    pub hint_filter: bool,
    /// Whether a listener for metrics follows the captures.
    pub metrics: bool,
    /// The group of NFLOG whose socket follows.
    pub nflog_group: Option<u16>,
}

/// What a capture descriptor is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum CaptureSpec {
    /// A filtered packet socket, for one interface or for all of them.
    Packet {
        /// `None`: every interface.
        interface: Option<String>,
        /// The interface's index; 0 if it is missing or none is named.
        index: u32,
    },
    Udp {
        port: u16,
    },
    /// The socket of a group of NFLOG, for knocks and hits.
    Nflog {
        group: u16,
        /// Name and index of each interface; empty for every interface.
        interfaces: Vec<(String, u32)>,
    },
    /// Log lines with hits of sequences.
    Log(LogSource),
    /// A filtered packet socket that receives hits of sequences.
    Sequences {
        interface: Option<String>,
        index: u32,
    },
}

/// The interface, `any` for all of them, the port of a bound socket: `udp/62201`, the group of NFLOG: `nflog/5`, or the source of
/// log lines.
impl fmt::Display for CaptureSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packet {
                interface: Some(name),
                ..
            } => f.write_str(name),
            Self::Packet {
                interface: None, ..
            } => f.write_str("any"),
            Self::Udp { port } => write!(f, "udp/{port}"),
            Self::Nflog { group, .. } => write!(f, "nflog/{group}"),
            Self::Log(source) => source.fmt(f),
            Self::Sequences { interface, .. } => {
                let interface = interface.as_deref().unwrap_or("any");
                write!(f, "sequences on {interface}")
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a message of this version: {0}")]
pub struct NotAMessage(String);

impl Order {
    /// The ticket that the report repeats.
    pub fn ticket(&self) -> Option<u64> {
        match self {
            Self::Loaded | Self::Ready | Self::Measured(_) => None,
            Self::Open { ticket, .. } | Self::Share { ticket, .. } => Some(*ticket),
            Self::Announced { ticket, .. } => Some(*ticket),
            Self::Close { ticket, .. } | Self::End { ticket, .. } => Some(*ticket),
            Self::Confirm { ticket } | Self::List { ticket } => Some(*ticket),
            Self::Reload { ticket } | Self::Measure { ticket } | Self::Firewall { ticket } => {
                Some(*ticket)
            }
        }
    }
}

impl Report {
    pub fn ticket(&self) -> Option<u64> {
        match self {
            Self::Go
            | Self::Finish
            | Self::Measure
            | Self::Interface { .. }
            | Self::Cluster { .. }
            | Self::Ended { .. }
            | Self::LogSensor { .. } => None,
            Self::Opened { ticket, .. }
            | Self::Closed { ticket, .. }
            | Self::Refused { ticket, .. } => Some(*ticket),
            Self::Confirmed { ticket, .. } | Self::Grants { ticket, .. } => Some(*ticket),
            Self::Reloaded { ticket, .. }
            | Self::Measured { ticket, .. }
            | Self::Firewall { ticket, .. } => Some(*ticket),
        }
    }
}

/// Most orders are shorter.
const USUAL: usize = 512;

/// The bytes of a message of at most [`MESSAGE_MAX`] bytes.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, NotAMessage> {
    let mut bytes = Vec::with_capacity(USUAL);
    let written = serde_json::to_writer(&mut bytes, message);
    written.map_err(|error| NotAMessage(error.to_string()))?;
    if bytes.len() > MESSAGE_MAX {
        Err(NotAMessage(format!("{} bytes are too long", bytes.len())))
    } else {
        Ok(bytes)
    }
}

/// As [`decode`], from the first `len` bytes of a buffer.
pub fn decode_first<T: DeserializeOwned>(buffer: &[u8], len: usize) -> Result<T, NotAMessage> {
    decode(buffer.get(..len).unwrap_or_default())
}

/// Decodes exactly one message of this type, to the last byte.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, NotAMessage> {
    if bytes.len() > MESSAGE_MAX {
        return Err(NotAMessage(format!("{} bytes are too long", bytes.len())));
    }
    let read = match std::str::from_utf8(bytes) {
        // What is printable needs no other look.
        Ok(text)
            if text
                .bytes()
                .any(|byte| !matches!(byte, b' '..=b'[' | b']'..=b'~')) =>
        {
            serde_json::from_str(&harmless_json(text))
        }
        _ => serde_json::from_slice(bytes),
    };
    read.map_err(|error| NotAMessage(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::fixture;

    #[test]
    fn engine_cannot_send_control_characters() {
        let named = |user: &str| Order::Close {
            ticket: 1,
            request: CloseRequest {
                user: user.to_owned(),
                allow: "192.0.2.7/32".parse().unwrap(),
                target: None,
                services: Vec::new(),
            },
        };
        let sent = encode(&named("\u{1b}[2Jal\u{202e}ice\u{9b}\r\u{200b}é")).unwrap();
        let raw = String::from_utf8(sent.clone()).unwrap();
        let escaped = raw.replace('\u{202e}', "\\u202E").into_bytes();
        for bytes in [sent, escaped] {
            let read: Order = decode(&bytes).unwrap();
            assert_eq!(read, named(" [2Jal ice   é"));
        }
    }

    fn request() -> OpenRequest {
        fixture::request("alice", "192.0.2.7/32", &["tcp/22", "web"], 30)
    }

    #[test]
    fn inexact_messages_are_refused() {
        let (ticket, request) = (1, request());
        let good = encode(&Order::Open { ticket, request }).unwrap();
        let good = String::from_utf8(good).unwrap();
        assert!(decode::<Order>(good.as_bytes()).is_ok());
        let most = good.replace("\"tcp/22\"", &vec!["\"tcp/22\""; 15].join(","));
        assert!(decode::<Order>(most.as_bytes()).is_ok());
        for bad in [
            good.replace("\"ticket\":1", "\"ticket\":1,\"root\":true"),
            good.replace("\"ticket\":1,", ""),
            good.replace("\"ticket\":1", "\"ticket\":-1"),
            good.replace("192.0.2.7/32", "192.0.2.7/33"),
            good.replace("tcp/22", "tcp/0"),
            good.replace("open", "exec"),
            format!("{good} {good}"),
            good[..good.len() - 1].to_owned(),
            String::new(),
            good.replace("\"tcp/22\"", &vec!["\"tcp/22\""; 16].join(",")),
            " ".repeat(MESSAGE_MAX + 1),
            "[".repeat(5000),
        ] {
            assert!(decode::<Order>(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
