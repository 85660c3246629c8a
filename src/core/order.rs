//! The vocabulary between engine and monitor: typed messages, one a datagram of their socket pair.
//!
//! An engine may be hostile, so an order names only what a user may ask for, everything in it is checked again
//! (invariant 5), and a message that is too long, unknown or not wholly read is an error. JSON keeps it readable in a trace.

use std::fmt;

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::model::counters::{EngineCounters, MonitorCounters};
use crate::model::grant::{Grant, GrantId};
use crate::model::reason::Rule;
use crate::model::request::{CloseRequest, OpenRequest};

/// Longest message, in bytes.
pub const MESSAGE_MAX: usize = 65_536;

/// Grants in one page of a list.
pub const PAGE: usize = 100;

/// What the engine may ask of the monitor. `ticket` comes back in the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Order {
    /// The engine could serve: keys are loaded, the first hint table stands, captures are bound and hold what comes. It
    /// waits for [`Report::Go`], for only one engine can have the store open.
    Loaded,
    /// The engine serves: the store is open too.
    Ready,
    /// Open a door.
    Open {
        /// Names this order.
        ticket: u64,
        /// What, for whom, how long.
        request: OpenRequest,
    },
    /// Close what a user's knock asks for.
    Close {
        /// Names this order.
        ticket: u64,
        /// Whose grants, and which.
        request: CloseRequest,
    },
    /// Close what the administrator asks for.
    End {
        /// Names this order.
        ticket: u64,
        /// Which grants.
        which: Selection,
    },
    /// The administrator can still get in: a trial is over and Postern stays.
    Confirm {
        /// Names this order.
        ticket: u64,
    },
    /// Tell which grants are open.
    List {
        /// Names this order.
        ticket: u64,
    },
    /// Read the config anew, as SIGHUP does. It comes from root's files alone, and a fresh engine follows the one that asks.
    Reload {
        /// Names this order.
        ticket: u64,
    },
    /// Tell what the monitor counts.
    Measure {
        /// Names this order.
        ticket: u64,
    },
    /// What the engine counts: the answer to [`Report::Measure`], and the sign that it lives.
    Measured(Box<EngineCounters>),
}

/// What became of a reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reloaded {
    /// The new config is in force.
    Done,
    /// It was not begun, for another one is under way: ask again.
    Busy,
    /// The new config can't be used and the old one stays in force; why, a line a problem.
    Refused(String),
}

/// Which grants an administrator means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Selection {
    /// Every grant.
    All,
    /// One user's.
    User(String),
    /// Those that let this address in.
    Address(std::net::IpAddr),
    /// One.
    Id(GrantId),
}

impl Selection {
    /// Whether this grant is meant.
    pub fn includes(&self, grant: &Grant) -> bool {
        match self {
            Self::All => true,
            Self::User(user) => grant.user == *user,
            Self::Address(address) => grant.allow.contains(address),
            Self::Id(id) => grant.id == *id,
        }
    }
}

/// What the monitor answers, and what it tells unasked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Report {
    /// No other engine has the store open any more: open it and serve.
    Go,
    /// Another engine is to take over: take in no more knocks, see to those under way, and end.
    Finish,
    /// Tell what the engine counts. Asked again and again: an engine that does not answer has its loop stuck.
    Measure,
    /// The door is open: the firewall said so.
    Opened {
        /// The order's.
        ticket: u64,
        /// What is open now.
        grant: Grant,
    },
    /// This many grants were closed.
    Closed {
        /// The order's.
        ticket: u64,
        /// How many.
        count: usize,
    },
    /// It was not done.
    Refused {
        /// The order's.
        ticket: u64,
        /// The rule that said no.
        rule: Rule,
        /// One line of explanation.
        why: String,
    },
    /// Postern stays.
    Confirmed {
        /// The order's.
        ticket: u64,
        /// Whether there was a trial.
        trial: bool,
    },
    /// One page of the grants that are open.
    Grants {
        /// The order's.
        ticket: u64,
        /// At most [`PAGE`].
        grants: Vec<Grant>,
        /// Whether another page follows.
        more: bool,
    },
    /// What became of a reload.
    Reloaded {
        /// The order's.
        ticket: u64,
        /// What became of it.
        outcome: Reloaded,
    },
    /// What the monitor counts.
    Measured {
        /// The order's.
        ticket: u64,
        /// Its numbers.
        tally: MonitorCounters,
    },
}

/// How the monitor sets an engine up: the first message, with the descriptors it speaks of attached in this order:
/// config, control socket, captures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// User and group to become; `None`: stay, for there is no other one here.
    pub run_as: Option<(u32, u32)>,
    /// One a capture descriptor.
    pub captures: Vec<CaptureSpec>,
    /// The firewall driver's name, for `posternd status`.
    pub backend: String,
    /// How long the daemon has run, milliseconds.
    pub daemon_uptime_ms: u64,
    /// The engine's own directory; it is to touch nothing else.
    pub state_dir: PathBuf,
    /// Whether the two maps of a hint filter that stands on the captures come last.
    pub hint_filter: bool,
    /// Whether a listener for those who want to read the figures follows the captures.
    pub metrics: bool,
}

/// What a capture descriptor is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum CaptureSpec {
    /// A filtered packet socket, for one interface or for all.
    Packet {
        /// `None`: every interface.
        interface: Option<String>,
    },
    /// A bound UDP socket.
    Udp {
        /// Its port.
        port: u16,
    },
}

/// The interface, `any` for all of them, or the port of a bound socket: `udp/62201`.
impl fmt::Display for CaptureSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packet {
                interface: Some(name),
            } => f.write_str(name),
            Self::Packet { interface: None } => f.write_str("any"),
            Self::Udp { port } => write!(f, "udp/{port}"),
        }
    }
}

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a message of this version: {0}")]
pub struct NotAMessage(String);

impl Order {
    /// The ticket that the report will carry.
    pub fn ticket(&self) -> Option<u64> {
        match self {
            Self::Loaded | Self::Ready | Self::Measured(_) => None,
            Self::Open { ticket, .. } | Self::Close { ticket, .. } | Self::End { ticket, .. } => {
                Some(*ticket)
            }
            Self::Confirm { ticket } | Self::List { ticket } => Some(*ticket),
            Self::Reload { ticket } | Self::Measure { ticket } => Some(*ticket),
        }
    }
}

impl Report {
    /// The ticket of the order that it answers.
    pub fn ticket(&self) -> Option<u64> {
        match self {
            Self::Go | Self::Finish | Self::Measure => None,
            Self::Opened { ticket, .. }
            | Self::Closed { ticket, .. }
            | Self::Refused { ticket, .. } => Some(*ticket),
            Self::Confirmed { ticket, .. } | Self::Grants { ticket, .. } => Some(*ticket),
            Self::Reloaded { ticket, .. } | Self::Measured { ticket, .. } => Some(*ticket),
        }
    }
}

/// The bytes of a message.
///
/// # Errors
/// When it would be longer than [`MESSAGE_MAX`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, NotAMessage> {
    let bytes = serde_json::to_vec(message).map_err(|error| NotAMessage(error.to_string()))?;
    if bytes.len() > MESSAGE_MAX {
        Err(NotAMessage(format!("{} bytes are too long", bytes.len())))
    } else {
        Ok(bytes)
    }
}

/// The message in these bytes, all of them.
///
/// # Errors
/// When they are too long, or not one message of this type.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, NotAMessage> {
    if bytes.len() > MESSAGE_MAX {
        return Err(NotAMessage(format!("{} bytes are too long", bytes.len())));
    }
    serde_json::from_slice(bytes).map_err(|error| NotAMessage(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::counters::CaptureCounters;
    use crate::model::counters::ReasonCounters;
    use crate::model::request::AddressFrom;
    use crate::model::time::Timestamp;
    use std::time::Duration;

    fn request() -> OpenRequest {
        OpenRequest {
            user: "alice".to_owned(),
            allow: "192.0.2.7/32".parse().unwrap(),
            from: AddressFrom::Observed,
            target: Some("10.0.0.5".parse().unwrap()),
            services: vec!["tcp/22".parse().unwrap(), "web".parse().unwrap()],
            duration: Duration::from_secs(30),
        }
    }

    #[test]
    fn orders_and_reports_come_back_as_they_were_sent() {
        let close = CloseRequest {
            user: "alice".to_owned(),
            allow: "::/0".parse().unwrap(),
            target: None,
            services: Vec::new(),
        };
        let which = Selection::Address("192.0.2.7".parse().unwrap());
        for order in [
            Order::Loaded,
            Order::Ready,
            Order::Open {
                ticket: 1,
                request: request(),
            },
            Order::Close {
                ticket: 2,
                request: close,
            },
            Order::End { ticket: 3, which },
            Order::List { ticket: u64::MAX },
            Order::Reload { ticket: 5 },
            Order::Measure { ticket: 4 },
            Order::Measured(Box::new(EngineCounters {
                started: Timestamp::default(),
                users: 1,
                marks: 2,
                hints: 3,
                counters: ReasonCounters::default(),
                captures: vec![CaptureCounters {
                    listening: true,
                    received: 4,
                    dropped: None,
                }],
            })),
        ] {
            assert_eq!(decode::<Order>(&encode(&order).unwrap()).unwrap(), order);
        }
        let refused = Report::Refused {
            ticket: 1,
            rule: Rule::GrantTo,
            why: "no".to_owned(),
        };
        let reloaded = |outcome| Report::Reloaded { ticket: 2, outcome };
        for report in [
            refused,
            reloaded(Reloaded::Done),
            reloaded(Reloaded::Busy),
            reloaded(Reloaded::Refused("one\ntwo".to_owned())),
            Report::Measure,
            Report::Measured {
                ticket: 4,
                tally: MonitorCounters {
                    engines: 2,
                    ..MonitorCounters::default()
                },
            },
        ] {
            assert_eq!(decode::<Report>(&encode(&report).unwrap()).unwrap(), report);
        }
    }

    #[test]
    fn a_message_with_anything_more_or_less_in_it_is_refused() {
        let good = String::from_utf8(
            encode(&Order::Open {
                ticket: 1,
                request: request(),
            })
            .unwrap(),
        )
        .unwrap();
        assert!(decode::<Order>(good.as_bytes()).is_ok());
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
            " ".repeat(MESSAGE_MAX + 1),
            "[".repeat(5000),
        ] {
            assert!(decode::<Order>(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
