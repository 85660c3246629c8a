//! Addresses between their two forms: IPv6 space on the wire, IPv4 or IPv6 everywhere else.
//!
//! Must not resolve names. Carries out PROTOCOL section 5, the rows for allow and target address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Prefix length in IPv6 space at which the IPv4-mapped addresses begin.
pub const MAPPED: u8 = 96;

/// An address from the wire: an IPv4-mapped one becomes IPv4.
pub fn from_wire(address: Ipv6Addr) -> IpAddr {
    IpAddr::V6(address).to_canonical()
}

/// An address as the wire carries it: IPv4 becomes IPv4-mapped.
pub fn to_wire(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// A network from the wire, `None` where the prefix is over 128. A mapped address with a prefix of 96 or more is IPv4.
pub fn network_from_wire(address: Ipv6Addr, prefix: u8) -> Option<IpNet> {
    match (from_wire(address), prefix.checked_sub(MAPPED)) {
        (IpAddr::V4(v4), Some(short)) => Ipv4Net::new(v4, short).ok().map(IpNet::V4),
        _ => Ipv6Net::new(address, prefix).ok().map(IpNet::V6),
    }
}

/// A network as the wire carries it: address and prefix length in IPv6 space.
pub fn network_to_wire(network: IpNet) -> (Ipv6Addr, u8) {
    match network {
        IpNet::V4(v4) => (
            v4.network().to_ipv6_mapped(),
            v4.prefix_len().saturating_add(MAPPED),
        ),
        IpNet::V6(v6) => (v6.network(), v6.prefix_len()),
    }
}

/// The source of a knock widened to `prefix` (in IPv6 space); `None` where an IPv4 source would be widened beyond IPv4.
pub fn widen(source: IpAddr, prefix: u8) -> Option<IpNet> {
    let network = match source.to_canonical() {
        IpAddr::V4(v4) => IpNet::V4(Ipv4Net::new(v4, prefix.checked_sub(MAPPED)?).ok()?),
        IpAddr::V6(v6) => IpNet::V6(Ipv6Net::new(v6, prefix).ok()?),
    };
    Some(network.trunc())
}

/// The network that admits one address only.
pub fn host(address: IpAddr) -> IpNet {
    IpNet::from(address.to_canonical())
}

/// True for an address that can be nobody's: unspecified, multicast or broadcast. Such an address is never let in.
pub fn is_nobody(address: IpAddr) -> bool {
    address.is_unspecified() || address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_keep_their_family_over_the_wire() {
        for text in [
            "192.0.2.0/24",
            "192.0.2.7/32",
            "2001:db8::/32",
            "0.0.0.0/0",
            "::/0",
            "2001:db8::7/128",
        ] {
            let network: IpNet = text.parse().unwrap();
            let (address, prefix) = network_to_wire(network);
            assert_eq!(network_from_wire(address, prefix), Some(network), "{text}");
        }
    }

    #[test]
    fn an_ipv4_source_is_widened_from_96_on() {
        let source: IpAddr = "192.0.2.77".parse().unwrap();
        assert_eq!(widen(source, 128), Some("192.0.2.77/32".parse().unwrap()));
        assert_eq!(widen(source, 120), Some("192.0.2.0/24".parse().unwrap()));
        assert_eq!(widen(source, 95), None);
        assert_eq!(
            widen("::ffff:192.0.2.77".parse().unwrap(), 120),
            Some("192.0.2.0/24".parse().unwrap())
        );
    }

    #[test]
    fn an_ipv6_source_is_widened_in_its_own_space() {
        assert_eq!(
            widen("2001:db8::77".parse().unwrap(), 64),
            Some("2001:db8::/64".parse().unwrap())
        );
        assert_eq!(widen("2001:db8::77".parse().unwrap(), 129), None);
    }
}
