//! What is open now.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::model::catalog::Forward;
use crate::model::service::Ports;
use crate::model::time::Timestamp;

/// Names one grant among those that are open; numbers start again where nothing is left open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GrantId(pub u64);

/// A door that is open: for whom, where to, until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Names this grant.
    pub id: GrantId,
    /// The user whose knock opened it.
    pub user: String,
    /// The address or network that is let in.
    pub allow: IpNet,
    /// The host behind the gate; `None`: the gate itself.
    pub target: Option<IpAddr>,
    /// What is open, as concrete ports, in order.
    pub services: Vec<Ports>,
    /// Ports of the gate that lead to hosts behind it, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forwards: Vec<Forward>,
    /// When it ends, milliseconds since the Unix epoch.
    pub until: Timestamp,
}

/// One change that the ledger wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Let this grant through until its time.
    Open(Grant),
    /// The same door as `old`, open until `new` ends.
    Extend {
        /// As it is in the firewall now.
        old: Grant,
        /// As it shall be.
        new: Grant,
    },
    /// Take this grant out.
    Close(Grant),
}

impl Change {
    /// The grant that it is about.
    pub fn id(&self) -> GrantId {
        match self {
            Self::Open(grant) | Self::Close(grant) | Self::Extend { new: grant, .. } => grant.id,
        }
    }
}

impl Grant {
    /// Opens the same door for the same user, whatever the time.
    pub fn same_door(&self, other: &Self) -> bool {
        let same_place = self.target == other.target
            && self.services == other.services
            && self.forwards == other.forwards;
        self.user == other.user && self.allow == other.allow && same_place
    }
}

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `grant 17: alice, 192.0.2.7/32 to tcp/22`, as the logs say it.
impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "grant {}: {}, {} to ", self.id, self.user, self.allow)?;
        if let Some(target) = self.target {
            write!(f, "{target} ")?;
        }
        let services = self.services.iter().map(ToString::to_string);
        let all: Vec<String> = services
            .chain(self.forwards.iter().map(ToString::to_string))
            .collect();
        f.write_str(&all.join(", "))
    }
}
