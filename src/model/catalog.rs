//! The services that a gate's config defines: what each name opens, its forward and its programs.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::model::address::Family;
use crate::model::command_template::CommandTemplate;
use crate::model::hook_unit::HookUnit;
use crate::model::host_set::{HostSet, ServiceSets};
use crate::model::service::{self, Ports, Wanted};

/// The services of a config, by name.
pub type Catalog = BTreeMap<String, NamedService>;

/// A `[service.NAME]` section.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamedService {
    /// What it opens.
    pub ports: Vec<Ports>,
    /// Whether a connection ends with its grant.
    pub end_connections: bool,
    /// Runs after a grant for all ports of the service opens.
    pub on_open: Option<CommandTemplate>,
    /// Runs after such a grant ends, for any reason.
    pub on_close: Option<CommandTemplate>,
    /// Where the two run; `None`: as programs of posternd.
    pub hook_unit: Option<HookUnit>,
    /// The host behind the gate that the port leads to.
    pub forward: Option<Forward>,
    /// Sets of the host that a grant for all ports of the service is added to.
    pub sets: Vec<HostSet>,
}

/// A port of the gate, or a range, that leads to a host behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// The ports at the gate: TCP, UDP or SCTP.
    pub at: Ports,
    /// The host behind the gate.
    pub host: IpAddr,
    /// Its port; `None` for a range, which keeps its ports.
    pub port: Option<u16>,
    /// Whether the host sees the gate's address instead of the client's.
    pub masquerade: bool,
}

/// Why ports cannot be forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// ICMP has no ports.
    #[error("a protocol without ports cannot be forwarded")]
    NoPorts,
    /// A range cannot go to one port.
    #[error("a range of ports cannot go to one port")]
    RangeToPort,
}

/// What a list of services opens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpenPorts {
    /// Ports of the gate, or of the target, in order.
    pub services: Vec<Ports>,
    pub forwards: Vec<Forward>,
}

impl Forward {
    /// A forward. A single port without a target port keeps its number.
    ///
    /// # Errors
    /// If these ports cannot be forwarded like this.
    pub fn new(
        at: Ports,
        host: IpAddr,
        port: Option<u16>,
        masquerade: bool,
    ) -> Result<Self, ForwardError> {
        match (at.range(), port) {
            (None, _) => Err(ForwardError::NoPorts),
            (Some((first, last)), None) if first == last => Ok(Self {
                at,
                host,
                port: Some(first),
                masquerade,
            }),
            (Some((first, last)), Some(_)) if first != last => Err(ForwardError::RangeToPort),
            (Some(_), port) => Ok(Self {
                at,
                host,
                port,
                masquerade,
            }),
        }
    }

    /// The ports at the host.
    pub fn inner(&self) -> Ports {
        self.port
            .and_then(|port| self.at.moved_to(port))
            .unwrap_or(self.at)
    }

    /// Whether some packet matches both: same family, common ports at the gate.
    pub(crate) fn collides(&self, other: &Self) -> bool {
        Family::of(self.host) == Family::of(other.host) && self.at.overlap(other.at).is_some()
    }
}

impl OpenPorts {
    /// What these services open; `None` if the gate has no service of a name.
    pub(crate) fn of(wanted: &[Wanted], catalog: &Catalog) -> Option<Self> {
        let mut open = Self::default();
        for one in wanted {
            match (one, forward_of(one, catalog)) {
                (_, Some(forward)) => open.forwards.push(*forward),
                (Wanted::Ports(ports), None) => open.services.push(*ports),
                (Wanted::Named(name), None) => {
                    open.services.extend_from_slice(&catalog.get(name)?.ports);
                }
            }
        }
        open.services = service::joined(open.services);
        open.forwards.sort_unstable();
        open.forwards.dedup();
        Some(open)
    }
}

/// The services that have sets of the host.
pub(crate) fn sets(catalog: &Catalog) -> Vec<ServiceSets> {
    let with_sets = catalog
        .iter()
        .filter(|(_, service)| !service.sets.is_empty());
    with_sets
        .map(|(name, service)| ServiceSets {
            service: name.clone(),
            ports: service.ports.clone(),
            sets: service.sets.clone(),
        })
        .collect()
}

/// The forward of a service; `None` if it has none.
pub(crate) fn forward_of<'a>(wanted: &Wanted, catalog: &'a Catalog) -> Option<&'a Forward> {
    match wanted {
        Wanted::Ports(_) => None,
        Wanted::Named(name) => catalog.get(name)?.forward.as_ref(),
    }
}

/// For the log: `tcp/2222 forwarded to 10.0.0.5:22`.
impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} forwarded to ", self.at)?;
        match self.port {
            Some(port) => write!(f, "{}", SocketAddr::new(self.host, port))?,
            None => write!(f, "{}", self.host)?,
        }
        f.write_str(if self.masquerade {
            " (masqueraded)"
        } else {
            ""
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(at: &str, host: &str, port: Option<u16>) -> Result<Forward, ForwardError> {
        Forward::new(at.parse().unwrap(), host.parse().unwrap(), port, false)
    }

    #[test]
    fn forward_keeps_ports_without_a_target_port() {
        let one = forward("tcp/2222", "10.0.0.5", None).unwrap();
        assert_eq!((one.port, one.inner()), (Some(2222), one.at));
        let text = forward("tcp/2222", "fd00::5", Some(22))
            .unwrap()
            .to_string();
        assert_eq!(text, "tcp/2222 forwarded to [fd00::5]:22");
        let range = forward("udp/5000-5010", "10.0.0.5", None).unwrap();
        assert_eq!((range.port, range.inner()), (None, range.at));
        let range = forward("udp/5000-5010", "10.0.0.5", Some(22));
        assert_eq!(range, Err(ForwardError::RangeToPort));
        let icmp = forward("icmp", "10.0.0.5", None);
        assert_eq!(icmp, Err(ForwardError::NoPorts));
    }

    #[test]
    fn forwards_of_common_packets_collide() {
        for (at, host, collides) in [
            ("tcp/2200-2300", "10.0.0.6", true),
            ("tcp/2222", "fd00::5", false),
            ("udp/2222", "10.0.0.5", false),
            ("tcp/2223-2230", "10.0.0.5", false),
        ] {
            let one = forward("tcp/2222", "10.0.0.5", None).unwrap();
            let other = forward(at, host, None).unwrap();
            assert_eq!(one.collides(&other), collides, "{at} to {host}");
        }
    }

    #[test]
    fn forwarding_service_does_not_open_its_port() {
        let inner = forward("tcp/2222", "10.0.0.5", Some(22)).unwrap();
        let service = |ports: &str, forward| NamedService {
            ports: vec![ports.parse().unwrap()],
            forward,
            ..NamedService::default()
        };
        let catalog = [
            ("inner".to_owned(), service("tcp/2222", Some(inner))),
            ("web".to_owned(), service("tcp/80", None)),
        ]
        .into();
        let open = |names: &[&str]| {
            let wanted: Vec<Wanted> = names.iter().map(|text| text.parse().unwrap()).collect();
            OpenPorts::of(&wanted, &catalog)
        };
        let opened = open(&["web", "inner", "tcp/22", "inner"]).unwrap();
        assert_eq!(service::list(&opened.services), "tcp/22, tcp/80");
        assert_eq!(opened.forwards, [inner]);
        assert_eq!(open(&["mail"]), None);
    }
}
