//! Grants: what is open now.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::model::catalog::Forward;
use crate::model::service::Ports;
use crate::model::time::Timestamp;

/// Identifies an open grant. Numbers start again when no grant is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GrantId(pub u64);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    pub id: GrantId,
    pub user: String,
    pub allow: IpNet,
    /// The host behind the gate; `None`: the gate itself.
    pub target: Option<IpAddr>,
    pub services: Vec<Ports>,
    /// Ports of the gate that lead to hosts behind it, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forwards: Vec<Forward>,
    pub until: Timestamp,
}

/// An open grant as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedGrant {
    #[serde(flatten)]
    pub grant: Grant,
    /// The knocks that opened or extended it, since the monitor started.
    #[serde(default)]
    pub knocks: u64,
}

/// A change that the ledger orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Open(Grant),
    /// Move the end of a grant.
    Extend {
        /// The grant in the firewall now.
        old: Grant,
        /// The same grant with its new end.
        new: Grant,
    },
    Close(Grant),
}

impl Change {
    pub fn id(&self) -> GrantId {
        match self {
            Self::Open(grant) | Self::Close(grant) | Self::Extend { new: grant, .. } => grant.id,
        }
    }

    /// The grant that it changes, and what the firewall holds afterwards. An opened grant is both.
    pub(crate) fn grants(&self) -> (&Grant, Option<&Grant>) {
        match self {
            Self::Open(grant) => (grant, Some(grant)),
            Self::Extend { old, new } => (old, Some(new)),
            Self::Close(grant) => (grant, None),
        }
    }
}

impl Grant {
    /// Whether both open the same for the same user; their ends may differ.
    pub fn opens_same(&self, other: &Self) -> bool {
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
