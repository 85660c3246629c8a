//! Addresses: their family, and their two forms. A knock carries IPv6 space, all other code IPv4 or IPv6.
//!
//! See `proto/README.md`, section 5, the rows for allow and target address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum Family {
    #[serde(rename = "IPv4")]
    V4,
    #[serde(rename = "IPv6")]
    V6,
}

impl Family {
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    pub const fn of_network(network: IpNet) -> Self {
        match network {
            IpNet::V4(_) => Self::V4,
            IpNet::V6(_) => Self::V6,
        }
    }

    /// The first value for IPv4, the second for IPv6.
    pub fn pick<T>(self, v4: T, v6: T) -> T {
        match self {
            Self::V4 => v4,
            Self::V6 => v6,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Prefix length in IPv6 space at which the IPv4-mapped addresses begin.
pub const MAPPED: u8 = 96;

/// An address of a gate in words; without a port, where a sequence goes.
pub(crate) fn place(to: SocketAddr) -> String {
    match to.port() {
        0 => to.ip().to_string(),
        _ => to.to_string(),
    }
}

/// An address from a knock: an IPv4-mapped one becomes IPv4.
pub(crate) fn from_knock(address: Ipv6Addr) -> IpAddr {
    IpAddr::V6(address).to_canonical()
}

/// An address as a knock carries it: IPv4 becomes IPv4-mapped.
pub fn to_knock(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// A network from a knock; `None` if the prefix is over 128. A mapped address with a prefix of 96 or more is IPv4.
pub(crate) fn network_from_knock(address: Ipv6Addr, prefix: u8) -> Option<IpNet> {
    match (from_knock(address), prefix.checked_sub(MAPPED)) {
        (IpAddr::V4(v4), Some(short)) => Ipv4Net::new(v4, short).ok().map(IpNet::V4),
        _ => Ipv6Net::new(address, prefix).ok().map(IpNet::V6),
    }
}

/// A network as a knock carries it: address and prefix length in IPv6 space.
pub fn network_to_knock(network: IpNet) -> (Ipv6Addr, u8) {
    match network {
        IpNet::V4(v4) => (
            v4.network().to_ipv6_mapped(),
            v4.prefix_len().saturating_add(MAPPED),
        ),
        IpNet::V6(v6) => (v6.network(), v6.prefix_len()),
    }
}

/// The source of a knock widened to `prefix` (in IPv6 space); `None` if that is wider than all of IPv4.
pub fn widen(source: IpAddr, prefix: u8) -> Option<IpNet> {
    let network = match source.to_canonical() {
        IpAddr::V4(v4) => IpNet::V4(Ipv4Net::new(v4, prefix.checked_sub(MAPPED)?).ok()?),
        IpAddr::V6(v6) => IpNet::V6(Ipv6Net::new(v6, prefix).ok()?),
    };
    Some(network.trunc())
}

pub fn host(address: IpAddr) -> IpNet {
    IpNet::from(address.to_canonical())
}

/// Whether no host can have this address: unspecified, multicast or broadcast. No grant admits it.
pub(crate) fn is_no_host(address: IpAddr) -> bool {
    address.is_unspecified() || address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_keep_their_family_in_a_knock() {
        for text in [
            "192.0.2.0/24",
            "192.0.2.7/32",
            "2001:db8::/32",
            "0.0.0.0/0",
            "::/0",
            "2001:db8::7/128",
        ] {
            let network: IpNet = text.parse().unwrap();
            let (address, prefix) = network_to_knock(network);
            assert_eq!(network_from_knock(address, prefix), Some(network), "{text}");
        }
    }

    #[test]
    fn source_is_widened_in_its_own_family() {
        for (source, prefix, network) in [
            ("192.0.2.77", 128, Some("192.0.2.77/32")),
            ("192.0.2.77", 120, Some("192.0.2.0/24")),
            ("192.0.2.77", 95, None),
            ("::ffff:192.0.2.77", 120, Some("192.0.2.0/24")),
            ("2001:db8::77", 64, Some("2001:db8::/64")),
            ("2001:db8::77", 129, None),
        ] {
            let widened = widen(source.parse().unwrap(), prefix);
            let found = widened;
            assert_eq!(found, network.map(|text| text.parse().unwrap()), "{source}");
        }
    }
}
