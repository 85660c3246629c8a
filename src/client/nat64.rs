//! Whether an address leads through NAT64 (RFC 6052), where the gate sees an IPv4 address.
//!
//! A network's own prefix is looked up (RFC 7050) beside the knock, which never waits for the answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use ipnet::Ipv6Net;

use super::resolve;
use super::route::Route;
use crate::client::profile::{Endpoint, Host};

/// The well-known prefix (RFC 6052), and the one for use within a network (RFC 8215).
const KNOWN: [(Ipv6Addr, u8); 2] = [
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48),
];
const IPV4_ONLY: &str = "ipv4only.arpa";
/// What that name has in IPv4.
const ITS_ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 0, 170), Ipv4Addr::new(192, 0, 0, 171)];
/// The lengths of a prefix (RFC 6052, section 2.2).
const LENGTHS: [u8; 6] = [32, 40, 48, 56, 64, 96];

/// A question for the network's own prefixes.
#[derive(Debug)]
pub(super) enum PrefixQuestion {
    Open(Receiver<Vec<Ipv6Net>>),
    Answered(OwnPrefixes),
}

/// What is known when a knock is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OwnPrefixes {
    Known(Vec<Ipv6Net>),
    /// The answer is not there yet. In doubt, every IPv6 address counts as translated.
    Unknown,
}

impl PrefixQuestion {
    /// Asks if it matters: for a gate with a name, on a machine without an IPv4 route.
    pub(super) fn ask(gates: &[Endpoint]) -> Self {
        let is_name = |gate: &Endpoint| gate.host.as_str().parse::<IpAddr>().is_err();
        let [anywhere, _] = ITS_ADDRESSES;
        if !gates.iter().any(is_name) || Route::to(SocketAddr::from((anywhere, 9)), None).is_ok() {
            return Self::Answered(OwnPrefixes::Known(Vec::new()));
        }
        let (sender, answer) = channel();
        thread::spawn(move || sender.send(look_up()));
        Self::Open(answer)
    }

    /// What is known now.
    pub(super) fn answer(&mut self) -> &OwnPrefixes {
        if let Self::Open(answer) = self
            && let Ok(prefixes) = answer.try_recv()
        {
            *self = Self::Answered(OwnPrefixes::Known(prefixes));
        }
        match self {
            Self::Open(_) => &OwnPrefixes::Unknown,
            Self::Answered(prefixes) => prefixes,
        }
    }
}

impl OwnPrefixes {
    pub(super) fn translate(&self, gate: IpAddr) -> bool {
        let IpAddr::V6(gate) = gate else {
            return false;
        };
        let in_known = |(network, length): &(Ipv6Addr, u8)| {
            Ipv6Net::new(*network, *length).is_ok_and(|prefix| prefix.contains(&gate))
        };
        KNOWN.iter().any(in_known)
            || match self {
                Self::Known(prefixes) => prefixes.iter().any(|prefix| prefix.contains(&gate)),
                Self::Unknown => true,
            }
    }
}

fn look_up() -> Vec<Ipv6Net> {
    let found = IPV4_ONLY
        .parse()
        .map(|name: Host| resolve::look_up(&name, 0));
    let Ok(Ok(found)) = found else {
        return Vec::new();
    };
    let found = found.into_iter().filter_map(|address| match address.ip() {
        IpAddr::V6(v6) => Some(v6),
        IpAddr::V4(_) => None,
    });
    found.flat_map(prefixes).collect()
}

/// The prefixes under which the answer holds an address of the name.
fn prefixes(answer: Ipv6Addr) -> Vec<Ipv6Net> {
    let is_own = |length: &u8| {
        let octets = answer.octets().into_iter().enumerate();
        // Bits 64 to 71 are always zero, and belong to no part.
        let after = octets.filter(|(index, _)| *index != 8 && *index >= usize::from(*length / 8));
        let inside: Vec<u8> = after.map(|(_, octet)| octet).take(4).collect();
        ITS_ADDRESSES.iter().any(|own| own.octets() == *inside)
    };
    let lengths = LENGTHS.into_iter().filter(is_own);
    let networks = lengths.filter_map(|length| Ipv6Net::new(answer, length).ok());
    networks.map(|network| network.trunc()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes_of(answer: &str) -> Vec<String> {
        let prefixes = prefixes(answer.parse().unwrap());
        prefixes.iter().map(ToString::to_string).collect()
    }

    /// The examples of RFC 6052, section 2.4, with the addresses of ipv4only.arpa.
    #[test]
    fn each_length_of_prefix_is_found() {
        for (answer, prefix) in [
            ("2001:db8:c000:aa::", "2001:db8::/32"),
            ("2001:db8:1c0:0:aa::", "2001:db8:100::/40"),
            ("2001:db8:122:c000:0:aa00::", "2001:db8:122::/48"),
            ("2001:db8:122:3c0:0:aa::", "2001:db8:122:300::/56"),
            ("2001:db8:122:344:c0:0:aa00:0", "2001:db8:122:344::/64"),
            ("2001:db8:122:344::c000:ab", "2001:db8:122:344::/96"),
        ] {
            assert_eq!(prefixes_of(answer), [prefix], "{answer}");
        }
        assert!(prefixes_of("2001:db8::c000:201").is_empty());
    }

    #[test]
    fn translated_gates_are_recognized() {
        let known = OwnPrefixes::Known(vec!["2001:db8:64::/96".parse().unwrap()]);
        for (gate, is_translated) in [
            ("64:ff9b::c633:6401", true),
            ("64:ff9b:1:7::c633:6401", true),
            ("64:ff9b:2::1", false),
            ("2001:db8:64::c633:6401", true),
            ("2001:db8:65::c633:6401", false),
            ("198.51.100.1", false),
        ] {
            let gate: IpAddr = gate.parse().unwrap();
            assert_eq!(known.translate(gate), is_translated, "{gate}");
            assert_eq!(OwnPrefixes::Unknown.translate(gate), gate.is_ipv6());
        }
    }
}
