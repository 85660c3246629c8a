//! The answer of `posternd status`, in the shape that `docs/json.md` states.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::attempt::{Attempts, Unused};
use crate::model::fleet::FleetStatus;
use crate::model::time::Timestamp;

/// What the coordinator says of this gate's knocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterStatus {
    /// `etcd` or `redis`.
    pub coordinator: String,
    /// Why knocks are refused now; `None` while the coordinator answers.
    pub away: Option<String>,
    /// Claims by their answer.
    pub won: u64,
    pub lost: u64,
    pub unknown: u64,
    /// `None` without a fleet key.
    pub fleet: Option<FleetStatus>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    pub version: u32,
    pub gate: String,
    pub backend: String,
    /// How long the daemon has run, milliseconds.
    pub daemon_uptime_ms: u64,
    /// How long this engine has served. Its counters begin then. A reload starts a new engine.
    pub uptime_ms: u64,
    /// How far the clock floor is ahead of the system's clock, which was set back. Knocks with the system's time are too old.
    pub clock_ahead_ms: u64,
    /// The version of the roster that was loaded; `None` without one.
    pub roster_version: Option<u64>,
    pub users: usize,
    pub marks: usize,
    pub admitted: u64,
    /// How often each reason was given: `drop replay`, `drop malformed (padding)`, `refuse quota`.
    pub reasons: BTreeMap<String, u64>,
    /// Whether the kernel drops copies, and datagrams with a wrong length or an unknown hint. The reasons count these, too.
    pub hint_filter: bool,
    pub captures: Vec<CaptureStatus>,
    pub store: StoreStatus,
    /// `None` without a cluster.
    pub cluster: Option<ClusterStatus>,
    /// Users who have used a part of their quota, the least left first.
    pub quotas: Vec<QuotaStatus>,
    pub more_quotas: usize,
    /// The group of NFLOG that tells of attempts without a grant; `None` if nothing does.
    pub nflog_group: Option<u16>,
    /// The last sources that tried a hidden service without a grant, the latest first.
    pub attempts: Vec<Attempts>,
    /// Admitted knocks whose services were tried from other addresses since, the latest first.
    pub unused: Vec<Unused>,
}

/// One socket that captures knocks, or the log sensor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptureStatus {
    /// An interface, `any` for all of them, the port of a bound socket such as `udp/62201`, a group such as `nflog/5`, or the source of
    /// log lines.
    pub name: String,
    pub listening: bool,
    pub why: Option<String>,
    pub received: u64,
    /// Datagrams that the kernel dropped because the engine was too slow; `None` if the kernel does not count them.
    pub dropped: Option<u64>,
    /// Log lines with the prefix that are no hit; `None` if it reads no lines.
    pub malformed: Option<u64>,
    /// How often the program that reads the log was started again; `None` if it reads no lines.
    pub restarts: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreStatus {
    pub commits: u64,
    pub marks: u64,
    /// The most marks in one commit. Many mean that the disk is slow.
    pub largest_group: usize,
    /// When the last commit was done, milliseconds since 1970.
    pub last: Option<Timestamp>,
    /// How long the last commit took, microseconds.
    pub last_took_us: u64,
}

/// How much of one user's quota is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuotaStatus {
    pub user: String,
    /// The quota: `30/min`.
    pub quota: String,
    /// Knocks that would be admitted now.
    pub left: u32,
    /// When the whole quota is back, milliseconds since 1970.
    pub whole: Timestamp,
}
