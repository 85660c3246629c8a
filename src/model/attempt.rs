//! Attempts to reach a hidden service from an address without a grant.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::model::service::Ports;
use crate::model::time::Timestamp;

/// A packet that the firewall dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    pub source: IpAddr,
    pub service: Ports,
}

/// The attempts of one source at one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempts {
    pub source: IpAddr,
    pub service: Ports,
    pub count: u64,
    pub last: Timestamp,
}

/// An admitted knock, and the attempts at its services from addresses that it did not let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unused {
    pub user: String,
    pub allow: IpNet,
    /// When the first knock of this grant was admitted.
    pub admitted: Timestamp,
    pub attempts: Vec<Attempts>,
}
