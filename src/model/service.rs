//! Services as text, in configs and commands: `tcp/22`, `udp/5000-5010`, `icmp`, or a name such as `web`.

use std::fmt;
#[cfg(feature = "daemon")]
use std::num::NonZeroU16;
use std::str::FromStr;

use postern_proto::{Protocol, Service, ServiceName};
use serde::{Deserialize, Serialize};

/// A protocol and its ports: one concrete service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ports {
    protocol: u8,
    first: u16,
    last: u16,
}

/// A service of a policy or a knock: ports, or a name that the gate's config defines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Wanted {
    Ports(Ports),
    /// A named service, 1 to 32 of a–z, 0–9, `-`, `_`.
    Named(String),
}

/// Why a text is not a service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a service; write tcp/22, udp/5000-5010, sctp/3868, icmp, icmpv6, or the name of one (a-z, 0-9, - and _, 32 characters at most)"
)]
pub struct NotAService(String);

/// Each protocol with its number.
pub(crate) const PROTOCOLS: [(&str, u8); 5] = [
    ("tcp", 6),
    ("udp", 17),
    ("sctp", 132),
    ("icmp", 1),
    ("icmpv6", 58),
];

impl Ports {
    /// One TCP port.
    #[cfg(feature = "daemon")]
    pub(crate) fn tcp(port: NonZeroU16) -> Self {
        Self::single(6, port)
    }

    /// One UDP port.
    #[cfg(feature = "daemon")]
    pub(crate) fn udp(port: NonZeroU16) -> Self {
        Self::single(17, port)
    }

    #[cfg(feature = "daemon")]
    fn single(protocol: u8, port: NonZeroU16) -> Self {
        Self {
            protocol,
            first: port.get(),
            last: port.get(),
        }
    }

    /// IANA protocol number: 6, 17, 132, 1 or 58.
    pub fn protocol(self) -> u8 {
        self.protocol
    }

    pub(crate) fn protocol_name(self) -> &'static str {
        PROTOCOLS
            .iter()
            .find(|(_, number)| *number == self.protocol)
            .map_or("?", |(name, _)| name)
    }

    /// First and last port, inclusive; `None` for a protocol without ports.
    pub fn range(self) -> Option<(u16, u16)> {
        (self.first != 0).then_some((self.first, self.last))
    }

    /// The service of a packet to this port. A protocol without ports has none.
    #[cfg(feature = "daemon")]
    pub(crate) fn of_packet(protocol: u8, port: u16) -> Option<Self> {
        let port = if [1, 58].contains(&protocol) { 0 } else { port };
        let protocol = Protocol::from_number(protocol)?;
        Service::new(protocol, port, port).ok().map(Self::from)
    }

    /// The form that a knock carries.
    pub fn to_knock(self) -> Option<Service> {
        Service::new(Protocol::from_number(self.protocol)?, self.first, self.last).ok()
    }

    /// The same protocol at another port; `None` for a protocol without ports.
    pub fn moved_to(self, port: u16) -> Option<Self> {
        (self.first != 0 && port != 0).then_some(Self {
            first: port,
            last: port,
            ..self
        })
    }

    /// Whether a packet of this protocol to this port belongs here. Without ports the protocol decides.
    pub fn hold(self, protocol: u8, port: u16) -> bool {
        self.protocol == protocol && (self.first == 0 || (self.first..=self.last).contains(&port))
    }

    /// The common ports.
    pub fn overlap(self, other: Self) -> Option<Self> {
        let (first, last) = (self.first.max(other.first), self.last.min(other.last));
        (self.protocol == other.protocol && first <= last).then_some(Self {
            protocol: self.protocol,
            first,
            last,
        })
    }

    /// From the first to the last port of both; `None` for two protocols.
    #[cfg(feature = "daemon")]
    pub(crate) fn span(self, other: Self) -> Option<Self> {
        (self.protocol == other.protocol).then_some(Self {
            protocol: self.protocol,
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        })
    }

    /// Every port of each protocol.
    #[cfg(feature = "daemon")]
    pub(crate) fn every() -> impl Iterator<Item = Self> {
        PROTOCOLS.into_iter().map(|(_, protocol)| {
            let has_ports = ![1, 58].contains(&protocol);
            let (first, last) = if has_ports { (1, u16::MAX) } else { (0, 0) };
            Self {
                protocol,
                first,
                last,
            }
        })
    }

    fn covers(self, other: Self) -> bool {
        self.protocol == other.protocol && self.first <= other.first && other.last <= self.last
    }

    fn touches(self, next: Self) -> bool {
        self.protocol == next.protocol && u32::from(next.first) <= u32::from(self.last) + 1
    }
}

impl From<Service> for Ports {
    fn from(service: Service) -> Self {
        Self {
            protocol: service.protocol().number(),
            first: service.first(),
            last: service.last(),
        }
    }
}

/// Ports in order, adjacent and overlapping ranges joined, so that one range covers all that they cover.
pub fn joined(mut ports: Vec<Ports>) -> Vec<Ports> {
    ports.sort_unstable();
    let mut joined: Vec<Ports> = Vec::with_capacity(ports.len());
    for next in ports {
        match joined.last_mut() {
            Some(last) if last.touches(next) => last.last = last.last.max(next.last),
            _ => joined.push(next),
        }
    }
    joined
}

/// Whether `allowed`, made by [`joined`], has every port of `wanted`.
pub fn covered(allowed: &[Ports], wanted: Ports) -> bool {
    allowed.iter().any(|range| range.covers(wanted))
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.range() {
            None => f.write_str(self.protocol_name()),
            Some((first, last)) if first == last => write!(f, "{}/{first}", self.protocol_name()),
            Some((first, last)) => write!(f, "{}/{first}-{last}", self.protocol_name()),
        }
    }
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Ports {
    type Err = NotAService;

    fn from_str(text: &str) -> Result<Self, NotAService> {
        read_ports(text).ok_or_else(|| NotAService(text.to_owned()))
    }
}

fn read_ports(text: &str) -> Option<Ports> {
    let (name, range) = match text.split_once('/') {
        Some((name, range)) => (name, Some(range)),
        None => (text, None),
    };
    let (_, protocol) = *PROTOCOLS.iter().find(|(known, _)| *known == name)?;
    let (first, last) = match range {
        None => (0, 0),
        Some(range) => match range.split_once('-') {
            Some((first, last)) => (port(first)?, port(last)?),
            None => (port(range)?, port(range)?),
        },
    };
    let protocol = Protocol::from_number(protocol)?;
    Service::new(protocol, first, last).ok().map(Ports::from)
}

fn port(text: &str) -> Option<u16> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

impl FromStr for Wanted {
    type Err = NotAService;

    fn from_str(text: &str) -> Result<Self, NotAService> {
        let is_ports = text.contains('/') || PROTOCOLS.iter().any(|(name, _)| *name == text);
        if is_ports {
            return text.parse().map(Self::Ports);
        }
        ServiceName::new(text)
            .map(|name| Self::Named(name.as_str().to_owned()))
            .map_err(|_| NotAService(text.to_owned()))
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ports(ports) => ports.fmt(f),
            Self::Named(name) => f.write_str(name),
        }
    }
}

impl TryFrom<String> for Ports {
    type Error = NotAService;

    fn try_from(text: String) -> Result<Self, NotAService> {
        text.parse()
    }
}

impl From<Ports> for String {
    fn from(ports: Ports) -> Self {
        ports.to_string()
    }
}

impl TryFrom<String> for Wanted {
    type Error = NotAService;

    fn try_from(text: String) -> Result<Self, NotAService> {
        text.parse()
    }
}

impl From<Wanted> for String {
    fn from(wanted: Wanted) -> Self {
        wanted.to_string()
    }
}

/// A list as text: `tcp/22, web`.
pub fn list<T: fmt::Display>(items: &[T]) -> String {
    items
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(text: &str) -> Ports {
        text.parse().unwrap()
    }

    #[test]
    fn services_are_printed_as_they_are_read() {
        for text in [
            "tcp/22",
            "udp/5000-5010",
            "sctp/3868",
            "icmp",
            "icmpv6",
            "tcp/1-65535",
        ] {
            assert_eq!(ports(text).to_string(), text);
            assert!(ports(text).to_knock().is_some(), "{text}");
        }
        let found = "web".parse::<Wanted>().unwrap();
        assert_eq!(found, Wanted::Named("web".to_owned()));
    }

    #[test]
    fn malformed_services_are_refused() {
        for text in [
            "tcp",
            "tcp/0",
            "tcp/70000",
            "tcp/30-20",
            "icmp/1",
            "tcp/+22",
            "gre/1",
            "Web",
            "-web",
            "",
            "tcp/22-",
        ] {
            let error = text.parse::<Wanted>().unwrap_err();
            assert!(
                error.to_string().contains(&format!("\"{text}\"")),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn ranges_overlap_in_their_common_ports() {
        let overlap = |one: &str, other: &str| {
            ports(one)
                .overlap(ports(other))
                .map(|both| both.to_string())
        };
        let expected = Some("tcp/25-30");
        assert_eq!(overlap("tcp/20-30", "tcp/25-40").as_deref(), expected);
        assert_eq!(overlap("icmp", "icmp").as_deref(), Some("icmp"));
        assert_eq!(overlap("tcp/20-30", "tcp/31-40"), None);
        assert_eq!(overlap("tcp/22", "udp/22"), None);
    }

    #[test]
    fn joined_ranges_cover_together() {
        let allowed = joined(vec![
            ports("tcp/81"),
            ports("tcp/80"),
            ports("udp/82"),
            ports("tcp/8000-8010"),
            ports("tcp/8005-8020"),
        ]);
        assert!(covered(&allowed, ports("tcp/80-81")));
        assert!(covered(&allowed, ports("tcp/8001-8020")));
        assert!(!covered(&allowed, ports("tcp/80-82")));
        assert!(!covered(&allowed, ports("tcp/8000-8021")));
        assert!(!covered(&allowed, ports("icmp")));
    }
}
