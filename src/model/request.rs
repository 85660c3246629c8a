//! What an admitted knock asks for, with its address and duration settled: the payload of an order.
//!
//! Services stay as they were asked for, so that the monitor gives names their meaning from its own config.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::model::service::{self, Wanted};
use crate::model::time;

/// Where the address to let in came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddressFrom {
    /// From inside the knock.
    Claimed,
    /// From the packet's source.
    Observed,
}

/// What is to be opened, for whom and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenRequest {
    /// The user's name.
    pub user: String,
    /// The address or network to let in.
    pub allow: IpNet,
    /// Where that address came from.
    pub from: AddressFrom,
    /// The host behind the gate; `None`: the gate itself.
    pub target: Option<IpAddr>,
    /// Services, as they were asked for.
    pub services: Vec<Wanted>,
    /// How long.
    pub duration: Duration,
}

/// What a user wants closed: of the user's own grants those for `allow`, and of these only `services` where any are named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloseRequest {
    /// The user's name.
    pub user: String,
    /// The address or network whose grants end.
    pub allow: IpNet,
    /// With services: the host behind the gate whose grants end; `None`: the gate itself.
    pub target: Option<IpAddr>,
    /// Empty: all that the user has open for that address.
    pub services: Vec<Wanted>,
}

/// `tcp/22 for 192.0.2.7/32 for 30s`, as the logs say it.
impl fmt::Display for OpenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}", service::list(&self.services), self.allow)?;
        if let Some(target) = self.target {
            write!(f, " to {target}")?;
        }
        write!(f, " for {}", time::human(self.duration))
    }
}
