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
        .then(|| Datagram::new(source, destination, port, payload))
}

type Addressed<'a> = (IpAddr, IpAddr, &'a [u8]);

fn ipv4(packet: &[u8]) -> Option<Addressed<'_>> {
    let (header, _options) = packet.split_first_chunk::<IPV4_HEADER_MIN>()?;
    let [
        first,
        _,
        total_0,
        total_1,
        _,
        _,
        fragment_0,
        fragment_1,
        _,
        protocol,
        _,
        _,
        s0,
        s1,
        s2,
        s3,
        d0,
        d1,
        d2,
        d3,
    ] = *header;
    let header_len = usize::from(first & 0x0f) * 4;
    let total_len = usize::from(u16::from_be_bytes([total_0, total_1]));
    let whole = u16::from_be_bytes([fragment_0, fragment_1]) & FRAGMENT == 0;
    if header_len < IPV4_HEADER_MIN || !whole || protocol != UDP {
        return None;
    }
    let segment = packet.get(header_len..total_len)?;
    Some((
        Ipv4Addr::new(s0, s1, s2, s3).into(),
        Ipv4Addr::new(d0, d1, d2, d3).into(),
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

    fn v4(port: u16, payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        PacketBuilder::ipv4([192, 0, 2, 1], [198, 51, 100, 2], 64)
            .udp(40000, port)
            .write(&mut packet, payload)
            .unwrap();
        packet
    }

    fn v6(port: u16, payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        let (from, to): (Ipv6Addr, Ipv6Addr) = (
            "2001:db8::1".parse().unwrap(),
            "2001:db8::2".parse().unwrap(),
        );
        PacketBuilder::ipv6(from.octets(), to.octets(), 64)
            .udp(40000, port)
            .write(&mut packet, payload)
            .unwrap();
        packet
    }

    /// The same question, answered by etherparse.
    fn second_opinion(packet: &[u8], ports: &[u16]) -> Option<(IpAddr, IpAddr, u16, Vec<u8>)> {
        let sliced = SlicedPacket::from_ip(packet).ok()?;
        let (source, destination): (IpAddr, IpAddr) = match sliced.net? {
            NetSlice::Ipv4(ip) => (
                ip.header().source_addr().into(),
                ip.header().destination_addr().into(),
            ),
            NetSlice::Ipv6(ip) => (
                ip.header().source_addr().into(),
                ip.header().destination_addr().into(),
            ),
            NetSlice::Arp(_) => return None,
        };
        let Some(TransportSlice::Udp(udp)) = sliced.transport else {
            return None;
        };
        let payload = udp.payload();
        ports.contains(&udp.destination_port()).then(|| {
            let kept = payload[..payload.len().min(PAYLOAD_MAX)].to_vec();
            (source, destination, udp.destination_port(), kept)
        })
    }

    fn ours(packet: &[u8], ports: &[u16]) -> Option<(IpAddr, IpAddr, u16, Vec<u8>)> {
        parse(packet, ports).map(|datagram| {
            (
                datagram.source(),
                datagram.destination(),
                datagram.port(),
                datagram.payload().to_vec(),
            )
        })
    }

    #[test]
    fn a_datagram_comes_out_as_it_was_sent_in_both_families() {
        let four = parse(&v4(62201, b"knock"), &PORTS).unwrap();
        assert_eq!(
            format!("{four:?}"),
            "Datagram { 192.0.2.1 -> 198.51.100.2 port 62201, 5 bytes }"
        );
        assert_eq!(four.payload(), b"knock");
        let six = parse(&v6(53, b"knock"), &PORTS).unwrap();
        assert_eq!(
            format!("{six:?}"),
            "Datagram { 2001:db8::1 -> 2001:db8::2 port 53, 5 bytes }"
        );
        assert_eq!(six.payload(), b"knock");
    }

    #[test]
    fn padding_of_the_frame_is_not_payload() {
        for mut packet in [v4(62201, b"k"), v6(62201, b"k")] {
            packet.extend([0xee; 25]);
            assert_eq!(parse(&packet, &PORTS).unwrap().payload(), b"k");
        }
    }

    #[test]
    fn the_udp_length_cuts_and_one_past_the_end_refuses() {
        for (packet, udp) in [(v4(62201, b"knock"), 20), (v6(62201, b"knock"), 40)] {
            for (len, expected) in [
                (13, Some(&b"knock"[..])),
                (11, Some(b"kno")),
                (8, Some(b"")),
                (7, None),
                (0, None),
                (14, None),
            ] {
                let mut packet = packet.clone();
                packet[udp + 5] = len;
                // more bytes in the frame than the IP header counts must not help
                packet.push(0);
                assert_eq!(
                    parse(&packet, &PORTS)
                        .map(|datagram| datagram.payload().to_vec())
                        .as_deref(),
                    expected,
                    "{len}"
                );
            }
        }
    }

    #[test]
    fn ipv4_options_are_stepped_over() {
        let plain = v4(62201, b"knock");
        for words in [1_u8, 10] {
            let options = vec![1; usize::from(words) * 4];
            let mut packet = [&plain[..20], &options, &plain[20..]].concat();
            packet[0] = 0x45 + words;
            packet[3] += words * 4;
            assert_eq!(parse(&packet, &PORTS).unwrap().payload(), b"knock");
        }
        let mut short = plain;
        short[0] = 0x44;
        assert!(parse(&short, &PORTS).is_none());
    }

    #[test]
    fn fragments_other_protocols_other_ports_and_other_versions_are_refused() {
        for (place, value) in [
            (6, 0x20),
            (6, 0x1f),
            (7, 1),
            (9, 6),
            (0, 0x55),
            (22, 0),
            (3, 200),
        ] {
            let mut packet = v4(62201, b"knock");
            packet[place] = value;
            assert!(parse(&packet, &PORTS).is_none(), "IPv4 byte {place}");
        }
        let mut unfragmentable = v4(62201, b"knock");
        unfragmentable[6] = 0x40;
        assert!(parse(&unfragmentable, &PORTS).is_some());
        // a fragment header, a hop-by-hop header, TCP, a jumbo packet's length
        for (place, value) in [
            (6, 44),
            (6, 0),
            (6, 6),
            (0, 0x70),
            (42, 0),
            (5, 0),
            (5, 200),
        ] {
            let mut packet = v6(62201, b"knock");
            packet[place] = value;
            assert!(parse(&packet, &PORTS).is_none(), "IPv6 byte {place}");
        }
    }

    fn built() -> impl Strategy<Value = Vec<u8>> {
        let port = prop_oneof![Just(62201_u16), Just(53), any::<u16>()];
        (
            any::<bool>(),
            port,
            prop::collection::vec(any::<u8>(), 0..700),
        )
            .prop_map(|(six, port, payload)| {
                if six {
                    v6(port, &payload)
                } else {
                    v4(port, &payload)
                }
            })
    }

    proptest! {
        #[test]
        fn built_packets_are_read_as_etherparse_reads_them(packet in built(), padding in prop::collection::vec(any::<u8>(), 0..40)) {
            let packet = [packet, padding].concat();
            prop_assert_eq!(ours(&packet, &PORTS), second_opinion(&packet, &PORTS));
        }

        #[test]
        fn mutated_and_cut_packets_are_read_as_etherparse_reads_them_or_refused(
            packet in built(),
            changes in prop::collection::vec((0_usize..64, any::<u8>()), 0..6),
            keep in prop_oneof![3 => Just(usize::MAX), 1 => 0_usize..760],
        ) {
            let mut packet = packet;
            for (place, value) in changes {
                if let Some(byte) = packet.get_mut(place) {
                    *byte = value;
                }
            }
            packet.truncate(keep);
            if let Some(read) = ours(&packet, &PORTS) {
                prop_assert_eq!(Some(read), second_opinion(&packet, &PORTS));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(packet in prop::collection::vec(any::<u8>(), 0..200), first in prop_oneof![Just(0x45_u8), Just(0x4f), Just(0x60)]) {
            let _ = parse(&packet, &PORTS);
            let _ = parse(&[&[first][..], &packet].concat(), &PORTS);
        }
    }
}
