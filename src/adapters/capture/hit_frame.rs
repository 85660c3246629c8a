//! Parses an IP packet that may be a hit of a sequence: TCP or UDP over IPv4 or IPv6, unfragmented. Reads headers only.
//!
//! It parses untrusted bytes and allocates nothing. The packet may be cut after its headers. Checksums are not checked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use postern_proto::Protocol;

use crate::core::sequence::{Hit, Tcp};

pub(super) const TCP: u8 = 6;
const UDP: u8 = 17;
const IPV4_HEADER_MIN: usize = 20;
/// More fragments, or a fragment offset (RFC 791).
const FRAGMENT: u16 = 0x3fff;
// RFC 9293
pub(super) const SYN: u8 = 0x02;
pub(super) const ACK: u8 = 0x10;

/// Parses a packet from its IP header; `None` if it is no hit of any sequence. IPv6 extension headers are not followed.
pub fn parse(ip_packet: &[u8]) -> Option<Hit> {
    let (source, protocol, segment) = match ip_packet.first()? >> 4 {
        4 => ipv4(ip_packet)?,
        6 => ipv6(ip_packet)?,
        _ => return None,
    };
    let ([from_0, from_1, to_0, to_1], rest) = segment.split_first_chunk::<4>()?;
    let (protocol, tcp) = match protocol {
        TCP => {
            let ([s0, s1, s2, s3, _, _, _, _, _, flags], _) = rest.split_first_chunk::<10>()?;
            let sequence = Some(u32::from_be_bytes([*s0, *s1, *s2, *s3]));
            let flags = *flags;
            (Protocol::Tcp, Some(Tcp { flags, sequence }))
        }
        UDP => {
            let (_length_and_checksum, _) = rest.split_first_chunk::<4>()?;
            (Protocol::Udp, None)
        }
        _ => return None,
    };
    Some(Hit {
        source: source.to_canonical(),
        protocol,
        port: u16::from_be_bytes([*to_0, *to_1]),
        source_port: u16::from_be_bytes([*from_0, *from_1]),
        tcp,
    })
}

type Segment<'a> = (IpAddr, u8, &'a [u8]);

fn ipv4(packet: &[u8]) -> Option<Segment<'_>> {
    let ([first, _, len_0, len_1, _, _, fragment_0, fragment_1], rest) =
        packet.split_first_chunk::<8>()?;
    let ([_ttl, protocol, _, _], rest) = rest.split_first_chunk::<4>()?;
    let (source, _) = rest.split_first_chunk::<4>()?;
    let header_len = usize::from(first & 0x0f) * 4;
    let is_fragment = u16::from_be_bytes([*fragment_0, *fragment_1]) & FRAGMENT != 0;
    if header_len < IPV4_HEADER_MIN || is_fragment {
        return None;
    }
    let end = usize::from(u16::from_be_bytes([*len_0, *len_1])).min(packet.len());
    let segment = packet.get(header_len..end)?;
    Some((Ipv4Addr::from(*source).into(), *protocol, segment))
}

fn ipv6(packet: &[u8]) -> Option<Segment<'_>> {
    let ([_, _, _, _, len_0, len_1, next, _hops], rest) = packet.split_first_chunk::<8>()?;
    let (source, rest) = rest.split_first_chunk::<16>()?;
    let (_destination, rest) = rest.split_first_chunk::<16>()?;
    let end = usize::from(u16::from_be_bytes([*len_0, *len_1])).min(rest.len());
    let segment = rest.get(..end)?;
    Some((Ipv6Addr::from(*source).into(), *next, segment))
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::*;

    fn syn(ipv6: bool) -> Vec<u8> {
        let mut packet = Vec::new();
        let tcp = if ipv6 {
            PacketBuilder::ipv6([0x20; 16], [0xfd; 16], 64).tcp(40_000, 7000, 9, 1024)
        } else {
            PacketBuilder::ipv4([192, 0, 2, 1], [198, 51, 100, 2], 64).tcp(40_000, 7000, 9, 1024)
        };
        tcp.syn().write(&mut packet, b"data").unwrap();
        packet
    }

    #[test]
    fn headers_alone_are_a_hit() {
        for (ipv6, source) in [
            (false, "192.0.2.1".parse::<IpAddr>().unwrap()),
            (true, [0x20; 16].into()),
        ] {
            let packet = syn(ipv6);
            let expected = Hit {
                source,
                protocol: Protocol::Tcp,
                port: 7000,
                source_port: 40_000,
                tcp: Some(Tcp {
                    flags: SYN,
                    sequence: Some(9),
                }),
            };
            assert_eq!(parse(&packet), Some(expected));
            let headers = packet.len() - 4;
            assert_eq!(parse(&packet[..headers]), Some(expected));
            assert_eq!(parse(&packet[..headers - 10]), None);
        }
        let mut udp = Vec::new();
        let builder = PacketBuilder::ipv4([192, 0, 2, 1], [198, 51, 100, 2], 64).udp(1, 9000);
        builder.write(&mut udp, b"\0").unwrap();
        let hit = parse(&udp).unwrap();
        assert_eq!(
            (hit.protocol, hit.port, hit.tcp),
            (Protocol::Udp, 9000, None)
        );
    }

    #[test]
    fn fragments_are_no_hits() {
        for (place, value) in [(6, 0x20), (7, 1), (0, 0x44), (9, 1), (3, 30)] {
            let mut packet = syn(false);
            packet[place] = value;
            assert_eq!(parse(&packet), None, "{place}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(packet in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = parse(&packet);
        }
    }
}
