//! The address that a knock asks the gate to allow (`proto/README.md`, section 5).
//!
//! Defines the meaning of `auto` and `both`. Uses no network: what is known of the way is an argument.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use postern_proto::Allow;

use crate::client::profile::AllowSetting;
use crate::model::address::{self, MAPPED};
use crate::model::grant_to::GrantTo;

const SOURCE: Allow = Allow::Source { prefix: 128 };

/// The way of a knock, as far as this machine knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    pub(crate) gate: IpAddr,
    /// The address that the system would send it from, or the one that STUN servers see.
    pub(crate) local: IpAddr,
    /// Whether the gate is in a network of the interface that has the local address.
    pub(crate) is_near: bool,
    /// Whether NAT64 is on the way.
    pub(crate) is_nat64: bool,
}

/// The allow addresses to ask for, each with a knock of its own: one, or with `both` two.
///
/// `auto` claims the local address if the gate will see that address: nobody can then move the packet to another source.
/// It does if the gate is in a network of the same interface, or if the address is public. Else somebody on the way may
/// translate, so `auto` asks for the source of the knock. Through NAT64 the gate sees an IPv4 address.
/// A user whose `grant_to` refuses one of the two kinds gets the other.
///
/// A one-time code counts once, so with a code `both` is `auto`.
///
/// `source/24` widens a knock over IPv4, `source/64` one over IPv6. Over the other family they allow the source address only.
pub(crate) fn claims(
    setting: &AllowSetting,
    grant_to: GrantTo,
    way: &Way,
    has_code: bool,
) -> Vec<Allow> {
    let local = Allow::Network {
        address: address::to_knock(way.local),
        prefix: 128,
    };
    let one = match (setting, way.gate.is_ipv4()) {
        (AllowSetting::Both, _) if !has_code && grant_to == GrantTo::Either => {
            let is_host = !address::is_no_host(way.local);
            return is_host
                .then_some(local)
                .into_iter()
                .chain([SOURCE])
                .collect();
        }
        (AllowSetting::Auto | AllowSetting::Both, _) if !is_claimed(grant_to, way) => SOURCE,
        (AllowSetting::Auto | AllowSetting::Both | AllowSetting::Stun(_), _) => local,
        (AllowSetting::SourceV4(prefix), true) => Allow::Source {
            prefix: prefix.saturating_add(MAPPED),
        },
        (AllowSetting::SourceV6(prefix), false) => Allow::Source { prefix: *prefix },
        (AllowSetting::Source | AllowSetting::SourceV4(_) | AllowSetting::SourceV6(_), _) => SOURCE,
        (AllowSetting::Network(network), _) => {
            let (address, prefix) = address::network_to_knock(*network);
            Allow::Network { address, prefix }
        }
    };
    vec![one]
}

fn is_claimed(grant_to: GrantTo, way: &Way) -> bool {
    let is_seen = way.is_near || is_public(way.local);
    !address::is_no_host(way.local)
        && match grant_to {
            GrantTo::Observed => false,
            GrantTo::Claimed | GrantTo::Same => true,
            GrantTo::Either => is_seen && !way.is_nat64,
        }
}

/// Whether an address has one meaning everywhere, so that nobody needs to translate it.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => !NOT_PUBLIC_V4.iter().any(|(network, prefix)| {
            Ipv4Net::new(*network, *prefix).is_ok_and(|net| net.contains(&v4))
        }),
        IpAddr::V6(v6) => !NOT_PUBLIC_V6.iter().any(|(network, prefix)| {
            Ipv6Net::new(*network, *prefix).is_ok_and(|net| net.contains(&v6))
        }),
    }
}

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

    fn way(gate: &str, local: &str) -> Way {
        Way {
            gate: gate.parse().unwrap(),
            local: local.parse().unwrap(),
            is_near: false,
            is_nat64: false,
        }
    }

    fn claimed(setting: &str, gate: &str, local: &str) -> Allow {
        let way = way(gate, local);
        claims(&setting.parse().unwrap(), GrantTo::Either, &way, false)[0]
    }

    #[test]
    fn auto_claims_public_and_near_addresses() {
        for (gate, local) in [
            ("198.51.100.1", "203.0.113.9"),
            ("2001:db8::1", "2001:db8:1::9"),
            ("10.0.0.1", "203.0.113.9"),
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
        for (gate, local) in [
            ("192.168.1.1", "192.168.1.2"),
            ("127.0.0.1", "127.0.0.1"),
            ("fd00::1", "fd00::2"),
            ("::1", "::1"),
        ] {
            let near = Way {
                is_near: true,
                ..way(gate, local)
            };
            let found = claims(&AllowSetting::Auto, GrantTo::Either, &near, false);
            assert_eq!(found, [exactly(local)], "{local}");
        }
    }

    #[test]
    fn auto_asks_for_source_if_somebody_may_translate() {
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
            // Private, but behind a router.
            ("192.168.1.1", &["192.168.2.2", "10.0.0.2"]),
        ] {
            for local in locals {
                assert_eq!(claimed("auto", gate, local), SOURCE, "{local}");
            }
        }
        let translated = Way {
            is_nat64: true,
            ..way("64:ff9b::c633:6401", "2001:db8::9")
        };
        let found = claims(&AllowSetting::Auto, GrantTo::Either, &translated, false);
        assert_eq!(found, [SOURCE]);
    }

    #[test]
    fn policy_decides_where_it_allows_one_kind() {
        let (private, public) = ("192.168.2.2", "203.0.113.9");
        for (setting, grant_to, local, has_code, expected) in [
            (
                "auto",
                GrantTo::Claimed,
                private,
                false,
                &[exactly(private)][..],
            ),
            ("auto", GrantTo::Same, private, true, &[exactly(private)]),
            ("auto", GrantTo::Observed, public, false, &[SOURCE]),
            (
                "both",
                GrantTo::Either,
                private,
                false,
                &[exactly(private), SOURCE],
            ),
            ("both", GrantTo::Either, private, true, &[SOURCE]),
            ("both", GrantTo::Either, public, true, &[exactly(public)]),
            ("both", GrantTo::Either, "0.0.0.0", false, &[SOURCE]),
            (
                "both",
                GrantTo::Claimed,
                private,
                false,
                &[exactly(private)],
            ),
            ("both", GrantTo::Observed, private, false, &[SOURCE]),
            ("source", GrantTo::Claimed, private, false, &[SOURCE]),
        ] {
            let way = way("198.51.100.1", local);
            let found = claims(&setting.parse().unwrap(), grant_to, &way, has_code);
            assert_eq!(found, expected, "{setting} {grant_to:?} {local}");
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
