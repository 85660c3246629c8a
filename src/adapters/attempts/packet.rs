//! The source and the service of a packet, from the first bytes of its IP header on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::attempt::Attempt;
use crate::model::service::Ports;

const IPV6_HEADER: usize = 40;

/// `None` for a later fragment, for an IPv6 header with extensions, and for another protocol than a service has.
pub(super) fn read(packet: &[u8]) -> Option<Attempt> {
    let version = packet.first()? >> 4;
    let (source, protocol, header): (IpAddr, u8, usize) = match version {
        4 => {
            let words = usize::from(packet.first()? & 0x0f);
            let [high, low] = *packet.get(6..8)?.first_chunk()?;
            let is_later_fragment = u16::from_be_bytes([high & 0x1f, low]) != 0;
            let source = Ipv4Addr::from(*packet.get(12..16)?.first_chunk::<4>()?);
            if is_later_fragment || words < 5 {
                return None;
            }
            (source.into(), *packet.get(9)?, words.saturating_mul(4))
        }
        6 => {
            let source = Ipv6Addr::from(*packet.get(8..24)?.first_chunk::<16>()?);
            (source.into(), *packet.get(6)?, IPV6_HEADER)
        }
        _ => return None,
    };
    let port = packet.get(header.saturating_add(2)..)?.first_chunk();
    let port = port.map_or(0, |port| u16::from_be_bytes(*port));
    let service = Ports::of_packet(protocol, port)?;
    Some(Attempt { source, service })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv6(next: u8, port: u16) -> Vec<u8> {
        let source: Ipv6Addr = "2001:db8::7".parse().unwrap();
        let [high, low] = port.to_be_bytes();
        [
            &[0x60, 0, 0, 0, 0, 4, next, 64][..],
            &source.octets(),
            &[0; 16],
            &[0, 0, high, low],
        ]
        .concat()
    }

    fn ipv4(first: u8, protocol: u8, fragment: u8, options: usize) -> Vec<u8> {
        let mut packet = vec![first, 0, 0, 0, 0, 0, 0, fragment, 64, protocol, 0, 0];
        packet.extend([192, 0, 2, 7, 192, 0, 2, 1]);
        packet.resize(packet.len() + options, 1);
        packet.extend([0xc0, 0, 0, 22]);
        packet
    }

    #[test]
    fn source_and_service_are_read() {
        let said = |packet: &[u8]| {
            read(packet).map(|attempt| format!("{} {}", attempt.source, attempt.service))
        };
        let told = |text: &str| Some(text.to_owned());
        assert_eq!(said(&ipv6(17, 51820)), told("2001:db8::7 udp/51820"));
        assert_eq!(said(&ipv6(58, 0x8000)), told("2001:db8::7 icmpv6"));
        assert_eq!(said(&ipv4(0x45, 6, 0, 0)), told("192.0.2.7 tcp/22"));
        assert_eq!(said(&ipv4(0x4f, 132, 0, 40)), told("192.0.2.7 sctp/22"));
        assert_eq!(said(&ipv4(0x45, 1, 0, 0)), told("192.0.2.7 icmp"));
        for other in [
            ipv4(0x45, 6, 1, 0),
            ipv4(0x44, 6, 0, 0),
            ipv4(0x45, 47, 0, 0),
        ] {
            assert_eq!(said(&other), None);
        }
        assert_eq!(said(&ipv6(0, 22)), None);
        assert_eq!(said(&ipv6(6, 0)), None);
        assert_eq!(said(&[0x55; 64]), None);
        assert_eq!(said(&[]), None);
    }
}
