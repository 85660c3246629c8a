//! Whom a knock lets in, for a given gate and a given way to it (PROTOCOL section 5, allow address and prefix).
//!
//! Owns the meaning of `auto`. Asks no network: both addresses are arguments.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use postern_proto::Allow;

use crate::client::profile::AllowSetting;
use crate::model::address::{self, MAPPED};

/// Just the source's own address.
const SOURCE: Allow = Allow::Source { prefix: 128 };

/// What the knock to `gate` claims. `local` is the address that the system would send it from, or for `stun` the one that
/// servers saw it come from.
///
/// `auto` claims the local address where the gate will see that very address: then the knock itself says who comes in, and
/// nobody who moves the packet elsewhere can change it. Behind address translation the gate sees an address that is not known
/// here; then `auto` asks for the source of the knock. It takes it for translated
/// - when the gate's address is a public one but the local one is not: private, carrier-grade NAT (100.64.0.0/10), unique
///   local, link-local, or of a translation on this very host (192.0.0.0/24);
/// - when the gate is reached through NAT64 (64:ff9b::/96), for it then sees an IPv4 address.
///
/// A gate with an address that is not public is on this site, and sees the local address.
///
/// `source/24` widens a knock over IPv4, `source/64` one over IPv6; over the other family the same setting asks for just the
/// source address, the narrowest there is, for a prefix of one family means nothing in the other.
pub fn claim(setting: &AllowSetting, gate: IpAddr, local: IpAddr) -> Allow {
    match (setting, gate.is_ipv4()) {
        (AllowSetting::Auto, _) if is_translated(gate, local) => SOURCE,
        (AllowSetting::Auto | AllowSetting::Stun(_), _) => Allow::Network {
            address: address::to_wire(local),
            prefix: 128,
        },
        (AllowSetting::SourceV4(prefix), true) => Allow::Source {
            prefix: prefix.saturating_add(MAPPED),
        },
        (AllowSetting::SourceV6(prefix), false) => Allow::Source { prefix: *prefix },
        (AllowSetting::Source | AllowSetting::SourceV4(_) | AllowSetting::SourceV6(_), _) => SOURCE,
        (AllowSetting::Network(network), _) => {
            let (address, prefix) = address::network_to_wire(*network);
            Allow::Network { address, prefix }
        }
    }
}

fn is_translated(gate: IpAddr, local: IpAddr) -> bool {
    address::is_nobody(local) || within(gate, NAT64) || (is_public(gate) && !is_public(local))
}

/// True for an address that means the same host everywhere.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => !NOT_PUBLIC_V4.iter().any(|(network, prefix)| {
            Ipv4Net::new(*network, *prefix).is_ok_and(|net| net.contains(&v4))
        }),
        IpAddr::V6(_) => !NOT_PUBLIC_V6
            .iter()
            .any(|network| within(address, *network)),
    }
}

fn within(address: IpAddr, (network, prefix): (Ipv6Addr, u8)) -> bool {
    match address {
        IpAddr::V6(v6) => Ipv6Net::new(network, prefix).is_ok_and(|net| net.contains(&v6)),
        IpAddr::V4(_) => false,
    }
}

const NAT64: (Ipv6Addr, u8) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// From IANA's registry of special-purpose addresses: those that a client can have and that mean nothing elsewhere.
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

    fn auto(gate: &str, local: &str) -> Allow {
        claim(
            &AllowSetting::Auto,
            gate.parse().unwrap(),
            local.parse().unwrap(),
        )
    }

    fn just(address: &str) -> Allow {
        Allow::Network {
            address: address::to_wire(address.parse().unwrap()),
            prefix: 128,
        }
    }

    #[test]
    fn auto_claims_a_public_address() {
        assert_eq!(auto("198.51.100.1", "203.0.113.9"), just("203.0.113.9"));
        assert_eq!(auto("2001:db8::1", "2001:db8:1::9"), just("2001:db8:1::9"));
    }

    #[test]
    fn auto_asks_for_the_source_behind_translation() {
        for local in [
            "10.1.2.3",
            "172.31.0.1",
            "192.168.1.2",
            "100.64.0.1",
            "100.127.255.255",
            "169.254.1.1",
            "192.0.0.4",
            "198.19.0.1",
            "0.0.0.0",
        ] {
            assert_eq!(auto("198.51.100.1", local), SOURCE, "{local}");
        }
        for local in ["fd00::1", "fe80::1", "::1", "::"] {
            assert_eq!(auto("2001:db8::1", local), SOURCE, "{local}");
        }
        assert_eq!(auto("64:ff9b::c633:6401", "2001:db8::9"), SOURCE, "NAT64");
    }

    #[test]
    fn auto_claims_a_private_address_to_a_gate_on_the_same_site() {
        assert_eq!(auto("192.168.1.1", "192.168.1.2"), just("192.168.1.2"));
        assert_eq!(auto("127.0.0.1", "127.0.0.1"), just("127.0.0.1"));
        assert_eq!(auto("100.64.0.1", "10.0.0.2"), just("10.0.0.2"));
        assert_eq!(auto("fd00::1", "fd00::2"), just("fd00::2"));
        assert_eq!(auto("::1", "::1"), just("::1"));
    }

    #[test]
    fn neighbours_of_private_networks_are_public() {
        for local in [
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "11.0.0.1",
        ] {
            assert_eq!(auto("198.51.100.1", local), just(local));
        }
    }

    #[test]
    fn a_source_prefix_counts_in_its_own_family_and_narrows_in_the_other() {
        let (v4, v6) = (
            "198.51.100.1".parse().unwrap(),
            "2001:db8::1".parse().unwrap(),
        );
        let over = |setting: AllowSetting, gate| claim(&setting, gate, gate);
        assert_eq!(
            over(AllowSetting::SourceV4(24), v4),
            Allow::Source { prefix: 120 }
        );
        assert_eq!(over(AllowSetting::SourceV4(24), v6), SOURCE);
        assert_eq!(
            over(AllowSetting::SourceV6(64), v6),
            Allow::Source { prefix: 64 }
        );
        assert_eq!(over(AllowSetting::SourceV6(64), v4), SOURCE);
        assert_eq!(over(AllowSetting::Source, v4), SOURCE);
    }

    #[test]
    fn what_stun_servers_saw_is_claimed_whatever_it_is() {
        let servers = AllowSetting::Stun("stun:a".parse().unwrap());
        for seen in ["203.0.113.9", "10.0.0.2", "2001:db8::9"] {
            assert_eq!(
                claim(
                    &servers,
                    "198.51.100.1".parse().unwrap(),
                    seen.parse().unwrap()
                ),
                just(seen)
            );
        }
    }

    #[test]
    fn a_network_is_claimed_as_it_is_over_either_family() {
        let network = AllowSetting::Network("192.0.2.0/24".parse().unwrap());
        let expected = Allow::Network {
            address: "::ffff:192.0.2.0".parse().unwrap(),
            prefix: 120,
        };
        assert_eq!(
            claim(
                &network,
                "2001:db8::1".parse().unwrap(),
                "::1".parse().unwrap()
            ),
            expected
        );
    }
}
