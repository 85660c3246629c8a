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
    /// The host behind the gate that the port leads to, or another port of the gate itself.
    pub forward: Option<Forward>,
    /// Sets of the host that a grant for all ports of the service is added to.
    pub sets: Vec<HostSet>,
}

/// A port of the gate, or a range, that leads to a host behind it, or a port that leads to another one of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// The ports at the gate: TCP, UDP or SCTP.
    pub at: Ports,
    /// The host behind the gate; `None`: the gate itself, at another port.
    pub host: Option<IpAddr>,
    /// The port there; `None` for a range, which keeps its ports.
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
    /// The gate itself takes the packets at one other port of the same protocol.
    #[error("a redirect goes from one port to another of the same protocol")]
    NotAnotherPort,
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
        let port = match (at.range(), port) {
            (None, _) => return Err(ForwardError::NoPorts),
            (Some((first, last)), None) if first == last => Some(first),
            (Some((first, last)), Some(_)) if first != last => {
                return Err(ForwardError::RangeToPort);
            }
            (Some(_), port) => port,
        };
        Ok(Self {
            at,
            host: Some(host),
            port,
            masquerade,
        })
    }

    /// A port of the gate that leads to another port of the gate.
    ///
    /// # Errors
    /// If these are not two single ports of one protocol.
    pub fn redirect(at: Ports, to: Ports) -> Result<Self, ForwardError> {
        let single = |ports: Ports| {
            let (first, last) = ports.range().ok_or(ForwardError::NoPorts)?;
            (first == last)
                .then_some(first)
                .ok_or(ForwardError::RangeToPort)
        };
        let (outer, inner) = (single(at)?, single(to)?);
        if at.protocol() != to.protocol() || outer == inner {
            return Err(ForwardError::NotAnotherPort);
        }
        Ok(Self {
            at,
            host: None,
            port: Some(inner),
            masquerade: false,
        })
    }

    /// Whether addresses of this family may use it.
    pub(crate) fn takes(&self, family: Family) -> bool {
        self.host.is_none_or(|host| Family::of(host) == family)
    }

    /// The ports that it leads to.
    pub fn inner(&self) -> Ports {
        self.port
            .and_then(|port| self.at.moved_to(port))
            .unwrap_or(self.at)
    }

    /// Whether some packet matches both: a common family, common ports at the gate.
    pub(crate) fn collides(&self, other: &Self) -> bool {
        let mut families = Family::BOTH.into_iter();
        families.any(|family| self.takes(family) && other.takes(family))
            && self.at.overlap(other.at).is_some()
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

    /// Whether they include all of the others.
    pub(crate) fn cover(&self, services: &[Ports], forwards: &[Forward]) -> bool {
        let mut services = services.iter();
        let mut forwards = forwards.iter();
        services.all(|open| service::covered(&self.services, *open))
            && forwards.all(|open| self.forwards.contains(open))
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

/// For the log: `tcp/2222 forwarded to 10.0.0.5:22`, `tcp/2222 redirected to tcp/22`.
impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(host) = self.host else {
            return write!(f, "{} redirected to {}", self.at, self.inner());
        };
        write!(f, "{} forwarded to ", self.at)?;
        match self.port {
            Some(port) => write!(f, "{}", SocketAddr::new(host, port))?,
            None => write!(f, "{host}")?,
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
    fn redirect_leads_to_another_port_of_the_gate() {
        let redirect =
            |at: &str, to: &str| Forward::redirect(at.parse().unwrap(), to.parse().unwrap());
        let one = redirect("tcp/2222", "tcp/22").unwrap();
        assert_eq!(one.to_string(), "tcp/2222 redirected to tcp/22");
        assert!(one.takes(Family::V4) && one.takes(Family::V6));
        for host in ["10.0.0.5", "fd00::5"] {
            assert!(one.collides(&forward("tcp/2000-3000", host, None).unwrap()));
        }
        for (at, to, error) in [
            ("tcp/22", "tcp/22", ForwardError::NotAnotherPort),
            ("tcp/2222", "udp/22", ForwardError::NotAnotherPort),
            ("tcp/2222-2223", "tcp/22", ForwardError::RangeToPort),
            ("tcp/2222", "tcp/22-23", ForwardError::RangeToPort),
            ("icmp", "icmp", ForwardError::NoPorts),
        ] {
            assert_eq!(redirect(at, to), Err(error), "{at} to {to}");
        }
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
