//! The address that a knock asks the gate to allow (`proto/README.md`, section 5).
//!
//! Defines the meaning of `auto`. Uses no network: both addresses are arguments.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use postern_proto::Allow;

use crate::client::profile::AllowSetting;
use crate::model::address::{self, MAPPED};

const SOURCE: Allow = Allow::Source { prefix: 128 };

/// The allow address of a knock to `gate`. `local` is the address that the system would send it from, or the one that
/// STUN servers see.
///
/// `auto` claims the local address if the gate will see that address: nobody can then move the packet to another source.
/// Behind address translation the gate sees another address, so `auto` asks for the source of the knock:
/// - if the gate's address is public and the local one is not: private, carrier-grade NAT (100.64.0.0/10), unique local,
///   link-local, or of a translation on this host (192.0.0.0/24);
/// - if the gate is reached through NAT64 (64:ff9b::/96), because it sees an IPv4 address.
///
/// A gate without a public address is on the same site and sees the local address.
///
/// `source/24` widens a knock over IPv4, `source/64` one over IPv6. Over the other family they allow the source address only.
pub(crate) fn claim(setting: &AllowSetting, gate: IpAddr, local: IpAddr) -> Allow {
    match (setting, gate.is_ipv4()) {
        (AllowSetting::Auto, _) if is_translated(gate, local) => SOURCE,
        (AllowSetting::Auto | AllowSetting::Stun(_), _) => Allow::Network {
            address: address::to_knock(local),
            prefix: 128,
        },
        (AllowSetting::SourceV4(prefix), true) => Allow::Source {
            prefix: prefix.saturating_add(MAPPED),
        },
        (AllowSetting::SourceV6(prefix), false) => Allow::Source { prefix: *prefix },
        (AllowSetting::Source | AllowSetting::SourceV4(_) | AllowSetting::SourceV6(_), _) => SOURCE,
        (AllowSetting::Network(network), _) => {
            let (address, prefix) = address::network_to_knock(*network);
            Allow::Network { address, prefix }
        }
    }
}

fn is_translated(gate: IpAddr, local: IpAddr) -> bool {
    address::is_no_host(local) || within(gate, NAT64) || (is_public(gate) && !is_public(local))
}

fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => !NOT_PUBLIC_V4.iter().any(|(network, prefix)| {
            Ipv4Net::new(*network, *prefix).is_ok_and(|net| net.contains(&v4))
        }),
        IpAddr::V6(_) => !NOT_PUBLIC_V6.iter().any(|net| within(address, *net)),
    }
}

fn within(address: IpAddr, (network, prefix): (Ipv6Addr, u8)) -> bool {
    match address {
        IpAddr::V6(v6) => Ipv6Net::new(network, prefix).is_ok_and(|net| net.contains(&v6)),
        IpAddr::V4(_) => false,
    }
}

const NAT64: (Ipv6Addr, u8) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// From IANA's registry of special-purpose addresses: those that a client can have and that have no meaning elsewhere.
const NOT_PUBLIC_V4: [(Ipv4Addr, u8); 8] = [
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
];

const NOT_PUBLIC_V6: [(Ipv6Addr, u8); 3] = [
    (Ipv6Addr::LOCALHOST, 128),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn exactly(address: &str) -> Allow {
        Allow::Network {
            address: address::to_knock(address.parse().unwrap()),
            prefix: 128,
        }
    }

    fn claimed(setting: &str, gate: &str, local: &str) -> Allow {
        let setting = setting.parse().unwrap();
        claim(&setting, gate.parse().unwrap(), local.parse().unwrap())
    }

    #[test]
    fn auto_claims_an_address_the_gate_sees() {
        for (gate, local) in [
            ("198.51.100.1", "203.0.113.9"),
            ("2001:db8::1", "2001:db8:1::9"),
            // On the same site.
            ("192.168.1.1", "192.168.1.2"),
            ("127.0.0.1", "127.0.0.1"),
            ("100.64.0.1", "10.0.0.2"),
            ("fd00::1", "fd00::2"),
            ("::1", "::1"),
            // Just outside of private networks.
            ("198.51.100.1", "100.63.255.255"),
            ("198.51.100.1", "100.128.0.1"),
            ("198.51.100.1", "172.15.0.1"),
            ("198.51.100.1", "172.32.0.1"),
            ("198.51.100.1", "192.0.1.1"),
            ("198.51.100.1", "11.0.0.1"),
        ] {
            assert_eq!(claimed("auto", gate, local), exactly(local), "{local}");
        }
    }

    #[test]
    fn auto_asks_for_source_behind_translation() {
        for (gate, locals) in [
            (
                "198.51.100.1",
                &[
                    "10.1.2.3",
                    "172.31.0.1",
                    "192.168.1.2",
                    "100.64.0.1",
                    "100.127.255.255",
                ][..],
            ),
            (
                "198.51.100.1",
                &["169.254.1.1", "192.0.0.4", "198.19.0.1", "0.0.0.0"],
            ),
            ("2001:db8::1", &["fd00::1", "fe80::1", "::1", "::"]),
            ("64:ff9b::c633:6401", &["2001:db8::9"]),
        ] {
            for local in locals {
                assert_eq!(claimed("auto", gate, local), SOURCE, "{local}");
            }
        }
    }

    #[test]
    fn source_prefix_counts_in_its_own_family() {
        let source = |prefix| Allow::Source { prefix };
        for (setting, gate, allow) in [
            ("source/24", "198.51.100.1", source(120)),
            ("source/24", "2001:db8::1", SOURCE),
            ("source/64", "2001:db8::1", source(64)),
            ("source/64", "198.51.100.1", SOURCE),
            ("source", "198.51.100.1", SOURCE),
        ] {
            assert_eq!(claimed(setting, gate, gate), allow, "{setting} to {gate}");
        }
    }

    #[test]
    fn stun_address_and_network_are_claimed_unchanged() {
        for seen in ["203.0.113.9", "10.0.0.2", "2001:db8::9"] {
            assert_eq!(claimed("stun:a", "198.51.100.1", seen), exactly(seen));
        }
        let network = Allow::Network {
            address: "::ffff:192.0.2.0".parse().unwrap(),
            prefix: 120,
        };
        assert_eq!(claimed("192.0.2.0/24", "2001:db8::1", "::1"), network);
    }
}
