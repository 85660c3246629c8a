//! Parses an IP packet: UDP over IPv4 or IPv6, unfragmented, to a knock port.
//!
//! It parses untrusted bytes and allocates nothing. It repeats the kernel filter's checks, so that the gate does not
//! depend on them. Checksums are not checked: the mac protects the content, and packets on loopback have none yet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::datagram::Datagram;

const UDP: u8 = 17;
const UDP_HEADER: usize = 8;
const IPV4_HEADER_MIN: usize = 20;
/// More fragments, or a fragment offset (RFC 791).
const FRAGMENT: u16 = 0x3fff;

/// Parses a packet from its IP header; `None` unless it is an unfragmented UDP datagram to one of `ports`.
///
/// Bytes beyond the length in the IP header, such as an Ethernet frame's padding, do not count. IPv6 extension headers
/// are not followed.
pub fn parse(ip_packet: &[u8], ports: &[u16]) -> Option<Datagram> {
    let mut datagram = Datagram::empty();
    parse_into(ip_packet, ports, &mut datagram).map(|()| datagram)
}

/// The same, into a datagram that is there.
pub fn parse_into(ip_packet: &[u8], ports: &[u16], datagram: &mut Datagram) -> Option<()> {
    let (source, destination, segment) = match ip_packet.first()? >> 4 {
        4 => ipv4(ip_packet)?,
        6 => ipv6(ip_packet)?,
        _ => return None,
    };
    let (_source_port, rest) = half(segment)?;
    let (port, rest) = half(rest)?;
    let (len, _checksum) = half(rest)?;
    let payload = segment.get(UDP_HEADER..usize::from(len))?;
    ports
        .contains(&port)
        .then(|| datagram.replace(source, destination, port, payload))
}

type Addressed<'a> = (IpAddr, IpAddr, &'a [u8]);

fn ipv4(packet: &[u8]) -> Option<Addressed<'_>> {
    let ([first, _, len_0, len_1, _, _, fragment_0, fragment_1], rest) =
        packet.split_first_chunk::<8>()?;
    let ([_ttl, protocol, _, _], rest) = rest.split_first_chunk::<4>()?;
    let (source, rest) = rest.split_first_chunk::<4>()?;
    let (destination, _options) = rest.split_first_chunk::<4>()?;
    let header_len = usize::from(first & 0x0f) * 4;
    let is_fragment = u16::from_be_bytes([*fragment_0, *fragment_1]) & FRAGMENT != 0;
    if header_len < IPV4_HEADER_MIN || is_fragment || *protocol != UDP {
        return None;
    }
    let segment = packet.get(header_len..usize::from(u16::from_be_bytes([*len_0, *len_1])))?;
    Some((
        Ipv4Addr::from(*source).into(),
        Ipv4Addr::from(*destination).into(),
        segment,
    ))
}

fn ipv6(packet: &[u8]) -> Option<Addressed<'_>> {
    let ([_, _, _, _, len_0, len_1, next, _hops], rest) = packet.split_first_chunk::<8>()?;
    let (source, rest) = rest.split_first_chunk::<16>()?;
    let (destination, rest) = rest.split_first_chunk::<16>()?;
    if *next != UDP {
        return None;
    }
    let segment = rest.get(..usize::from(u16::from_be_bytes([*len_0, *len_1])))?;
    Some((
        Ipv6Addr::from(*source).into(),
        Ipv6Addr::from(*destination).into(),
        segment,
    ))
}

fn half(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (half, rest) = bytes.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*half), rest))
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
    use proptest::prelude::*;

    use super::*;
    use crate::model::datagram::PAYLOAD_MAX;

    const PORTS: [u16; 2] = [62201, 53];

    fn packet(ipv6: bool, port: u16, payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        let builder = if ipv6 {
            PacketBuilder::ipv6([0x20; 16], [0xfd; 16], 64)
        } else {
            PacketBuilder::ipv4([192, 0, 2, 1], [198, 51, 100, 2], 64)
        };
        let builder = builder.udp(40000, port);
        builder.write(&mut packet, payload).unwrap();
        packet
    }

    type Parsed = (IpAddr, IpAddr, u16, Vec<u8>);

    fn ours(packet: &[u8]) -> Option<Parsed> {
        let found = parse(packet, &PORTS)?;
        let payload = found.payload().to_vec();
        Some((found.source(), found.destination(), found.port(), payload))
    }

    /// The same result by etherparse.
    fn theirs(packet: &[u8]) -> Option<Parsed> {
        let sliced = SlicedPacket::from_ip(packet).ok()?;
        let (source, destination) = match sliced.net? {
            NetSlice::Ipv4(ip) => {
                let ip = ip.header();
                (ip.source_addr().into(), ip.destination_addr().into())
            }
            NetSlice::Ipv6(ip) => {
                let ip = ip.header();
                (ip.source_addr().into(), ip.destination_addr().into())
            }
            NetSlice::Arp(_) => return None,
        };
        let Some(TransportSlice::Udp(udp)) = sliced.transport else {
            return None;
        };
        let (port, payload) = (udp.destination_port(), udp.payload());
        let kept = payload[..payload.len().min(PAYLOAD_MAX)].to_vec();
        let is_knock_port = PORTS.contains(&port);
        is_knock_port.then_some((source, destination, port, kept))
    }

    #[test]
    fn udp_length_limits_the_payload() {
        for (ipv6, udp) in [(false, 20), (true, 40)] {
            for (length, expected) in [
                (13, Some(&b"knock"[..])),
                (11, Some(b"kno")),
                (8, Some(b"")),
                (7, None),
                (0, None),
                (14, None),
            ] {
                let mut packet = packet(ipv6, 62201, b"knock");
                packet[udp + 5] = length;
                // a byte beyond the length in the IP header must not count
                packet.push(0);
                let payload = ours(&packet).map(|parsed| parsed.3);
                assert_eq!(payload.as_deref(), expected, "{length}");
            }
        }
    }

    #[test]
    fn ipv4_options_are_skipped() {
        let plain = packet(false, 62201, b"knock");
        for words in [1_u8, 10] {
            let options = vec![1; usize::from(words) * 4];
            let mut packet = [&plain[..20], &options, &plain[20..]].concat();
            packet[0] = 0x45 + words;
            packet[3] += words * 4;
            assert_eq!(parse(&packet, &PORTS).unwrap().payload(), b"knock");
        }
    }

    #[test]
    fn other_packets_are_refused() {
        // a short header, fragments
        let ipv4 = [(0, 0x44), (6, 0x20), (6, 0x1f), (7, 1)];
        // another protocol, another version, another port, another length
        let ipv4 = [ipv4, [(9, 6), (0, 0x55), (22, 0), (3, 200)]].concat();
        // a fragment header, a hop-by-hop header, TCP
        let ipv6 = [(6, 44), (6, 0), (6, 6)];
        // another version, another port, other lengths
        let ipv6 = [&ipv6[..], &[(0, 0x70), (42, 0), (5, 0), (5, 200)]].concat();
        for (is_ipv6, changes) in [(false, ipv4), (true, ipv6)] {
            for (place, value) in changes {
                let mut packet = packet(is_ipv6, 62201, b"knock");
                packet[place] = value;
                assert!(parse(&packet, &PORTS).is_none(), "{place} {value}");
            }
        }
        let mut unfragmentable = packet(false, 62201, b"knock");
        unfragmentable[6] = 0x40;
        assert!(parse(&unfragmentable, &PORTS).is_some());
    }

    fn built() -> impl Strategy<Value = Vec<u8>> {
        let port = prop_oneof![Just(62201_u16), Just(53), any::<u16>()];
        let payload = prop::collection::vec(any::<u8>(), 0..700);
        (any::<bool>(), port, payload)
            .prop_map(|(ipv6, port, payload)| packet(ipv6, port, &payload))
    }

    proptest! {
        #[test]
        fn built_packets_parse_as_in_etherparse(
            packet in built(),
            padding in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let packet = [packet, padding].concat();
            prop_assert_eq!(ours(&packet), theirs(&packet));
        }

        #[test]
        fn mutated_packets_parse_as_in_etherparse_or_not(
            mut packet in built(),
            changes in prop::collection::vec((0_usize..64, any::<u8>()), 0..6),
            keep in prop_oneof![3 => Just(usize::MAX), 1 => 0_usize..760],
        ) {
            for (place, value) in changes {
                if let Some(byte) = packet.get_mut(place) {
                    *byte = value;
                }
            }
            packet.truncate(keep);
            if let Some(parsed) = ours(&packet) {
                prop_assert_eq!(Some(parsed), theirs(&packet));
            }
        }
    }
}
