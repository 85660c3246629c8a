//! How the engine does, as `posternd status` is told: plain values, in the shape that `docs/json.md` states.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::time::Timestamp;

/// How the engine does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// [`super::VERSION`].
    pub version: u32,
    /// The gate's name.
    pub gate: String,
    /// The firewall driver's name.
    pub backend: String,
    /// How long the daemon has run, milliseconds.
    pub daemon_uptime_ms: u64,
    /// How long this engine has served; everything that is counted is counted since then. A reload starts a new one.
    pub uptime_ms: u64,
    /// How far the gate's clock is ahead of the system's, which was set back; a knock of the system's time is then too old.
    pub clock_ahead_ms: u64,
    /// How many users there are.
    pub users: usize,
    /// Marks that are remembered.
    pub marks: usize,
    /// Knocks that were admitted.
    pub admitted: u64,
    /// Reasons that were given at least once, by how often: `drop replay`, `drop malformed (padding)`, `refuse quota`.
    pub reasons: BTreeMap<String, u64>,
    /// Whether the kernel drops what no user's key can have made; it is counted among the reasons all the same.
    pub hint_filter: bool,
    /// What it listens with.
    pub captures: Vec<CaptureStatus>,
    /// What it stores marks with.
    pub store: StoreStatus,
    /// Users who have used some of their quota up, those with the least left first.
    pub quotas: Vec<QuotaStatus>,
    /// How many more of them there are.
    pub more_quotas: usize,
}

/// One socket that knocks come by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptureStatus {
    /// An interface, `any` for all of them, or the port of a bound socket such as `udp/62201`.
    pub name: String,
    /// Whether it hears anything now.
    pub listening: bool,
    /// Why not.
    pub why: Option<String>,
    /// Datagrams that came by it.
    pub received: u64,
    /// Datagrams that the kernel dropped because the engine was too slow; `None` where the kernel does not tell.
    pub dropped: Option<u64>,
}

/// How the replay store does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreStatus {
    /// Durable commits.
    pub commits: u64,
    /// Marks in them.
    pub marks: u64,
    /// Most marks in one commit: more than a few say that the disk is slow for what comes.
    pub largest_group: usize,
    /// When the last one was done, milliseconds since the Unix epoch.
    pub last: Option<Timestamp>,
    /// How long that one took, microseconds.
    pub last_took_us: u64,
}

/// How much of one user's quota is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuotaStatus {
    /// The user's name.
    pub user: String,
    /// The quota: `30/min`.
    pub quota: String,
    /// Knocks that would be admitted now.
    pub left: u32,
    /// When the whole of it is back, milliseconds since the Unix epoch.
    pub whole: Timestamp,
}

/// What the gate remembers of a packet, with the time in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Seen {
    /// It was admitted then.
    Admitted(Timestamp),
    /// Policy or quota refused it then.
    Refused(Timestamp),
}
