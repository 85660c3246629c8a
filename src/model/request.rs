//! What an admitted knock asks for, with its final address and duration: the content of an order.
//!
//! Services stay as the knock names them, so that the monitor resolves names by its own config.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use postern_proto::limits::MAX_SERVICES;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::model::service::{self, Wanted};
use crate::model::time;

/// Where the allow address comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddressFrom {
    /// The knock.
    Claimed,
    /// The packet's source address.
    Observed,
    /// The knock, and the packet came from it.
    Same,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenRequest {
    pub user: String,
    pub allow: IpNet,
    pub from: AddressFrom,
    /// The host behind the gate; `None`: the gate itself.
    pub target: Option<IpAddr>,
    /// Services, as the knock names them.
    #[serde(deserialize_with = "services_of_a_knock")]
    pub services: Vec<Wanted>,
    pub duration: Duration,
}

/// A request to close the user's own grants for `allow`: those of `services`, or all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloseRequest {
    pub user: String,
    /// The address or network whose grants end.
    pub allow: IpNet,
    /// With services: the host behind the gate whose grants end; `None`: the gate itself.
    pub target: Option<IpAddr>,
    /// Empty: all grants of the user for that address.
    #[serde(deserialize_with = "services_of_a_knock")]
    pub services: Vec<Wanted>,
}

/// No knock names more than [`MAX_SERVICES`], so more of them are a hostile engine's.
pub(crate) fn services_of_a_knock<'de, D: Deserializer<'de>>(
    services: D,
) -> Result<Vec<Wanted>, D::Error> {
    services.deserialize_seq(ServicesOfAKnock)
}

struct ServicesOfAKnock;

impl<'de> Visitor<'de> for ServicesOfAKnock {
    type Value = Vec<Wanted>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {MAX_SERVICES} services")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<Wanted>, A::Error> {
        let mut services = Vec::new();
        while let Some(service) = items.next_element()? {
            if services.len() >= MAX_SERVICES {
                return Err(A::Error::invalid_length(
                    MAX_SERVICES.saturating_add(1),
                    &self,
                ));
            }
            services.push(service);
        }
        Ok(services)
    }
}

/// For the log: `tcp/22 for 192.0.2.7/32 for 30s`.
impl fmt::Display for OpenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}", service::list(&self.services), self.allow)?;
        if let Some(target) = self.target {
            write!(f, " to {target}")?;
        }
        write!(f, " for {}", time::human(self.duration))
    }
}
