//! The messages between engine and cluster process, one in each datagram of their socket pair.

use serde::{Deserialize, Serialize};

use super::claim::{Answer, Claim};
use crate::model::cluster::Cluster;

/// The first message to a cluster process, of the monitor. Attached are the contents of the files that the section names, and the
/// link to the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterStart {
    /// User and group to change to; `None`: keep the present ones.
    pub run_as: Option<(u32, u32)>,
    pub cluster: Cluster,
    /// The longest of the gate.
    pub window_ms: u64,
}

/// What the engine asks of the cluster process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Ask {
    Claim {
        ticket: u64,
        claim: Claim,
        within_ms: u64,
    },
    /// Say when the coordinator is back.
    Probe { number: u64 },
}

/// What the cluster process says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Told {
    Claimed {
        ticket: u64,
        answer: Answer,
    },
    /// The coordinator carries out claims, asked after this probe.
    Back {
        number: u64,
    },
    /// It does not yet, for this reason.
    Away {
        number: u64,
        why: String,
    },
}
