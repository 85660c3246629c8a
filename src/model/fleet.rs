//! What the gates of one name know of each other's grants, as it is stored and reported.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use data_encoding::HEXLOWER;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::model::grant::GrantId;
use crate::model::service::Wanted;
use crate::model::time::Timestamp;

/// Identifies a shared grant at every gate: 32 hexadecimal digits of a hash of user, allow address, target and services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SharedId(pub [u8; 16]);

impl From<SharedId> for String {
    fn from(SharedId(bytes): SharedId) -> Self {
        hexadecimal(&bytes)
    }
}

impl TryFrom<String> for SharedId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let wrong = "not 32 lower-case hexadecimal digits";
        let number = u128::from_str_radix(&text, 16).map_err(|_| wrong)?;
        let id = Self(number.to_be_bytes());
        (String::from(id) == text).then_some(id).ok_or(wrong)
    }
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

/// A shared grant that no publication opens any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClosedGrant {
    pub id: SharedId,
    /// Publications made until then are closed.
    pub at: Timestamp,
    /// When each of them has ended.
    pub until: Timestamp,
}

impl ClosedGrant {
    /// No grant has this id. It stands for all grants: which of them were closed is not remembered one by one.
    pub const ALL: SharedId = SharedId([0; 16]);

    /// Whether it says more than the other one.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let is_over = self.id == Self::ALL || self.id == other.id;
        is_over && self.at >= other.at && self.until >= other.until && self != other
    }
}

/// A grant of any gate of the name, as this gate knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterGrant {
    pub id: SharedId,
    /// The gate that admitted the last knock for it.
    pub member: String,
    pub user: String,
    pub allow: IpNet,
    pub target: Option<IpAddr>,
    /// As the knock names them.
    pub services: Vec<Wanted>,
    /// When it ends, by the clock of the gate that admitted it.
    pub until: Timestamp,
    /// The open grant at this gate.
    pub here: Option<GrantId>,
    /// Why it is not open at this gate.
    pub refused: Option<String>,
}

/// What this gate knows of the gates of its name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FleetStatus {
    /// This gate among them.
    pub member: String,
    /// Why publications may be missed now; `None` if all that is live has been told.
    pub behind: Option<String>,
    /// How long this gate's last heartbeat took to come back, milliseconds; `None` before the first.
    pub lag_ms: Option<u64>,
    /// The others that were heard lately.
    pub members: Vec<MemberStatus>,
    /// Live grants of all gates.
    pub grants: usize,
    pub counters: FleetCounters,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberStatus {
    pub member: String,
    /// How long ago its last heartbeat came, milliseconds.
    pub heard_ms: u64,
    /// How old that heartbeat was by this gate's clock, milliseconds: the way, and the difference of the clocks.
    pub age_ms: i64,
}

impl MemberStatus {
    /// Not three heartbeats of it are missing.
    pub fn is_heard(&self) -> bool {
        self.heard_ms <= 6000
    }

    /// How far its clock is from this gate's, with the way of the heartbeat.
    pub fn clock_apart(&self) -> Duration {
        Duration::from_millis(self.age_ms.unsigned_abs())
    }
}

/// Publications.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FleetCounters {
    /// Grants of this gate that were published.
    pub published: u64,
    /// Grants of other gates that were opened or extended here.
    pub taken: u64,
    /// Closes of other gates that were carried out here.
    pub closed: u64,
    /// What was refused, by reason.
    pub refused: BTreeMap<String, u64>,
}
