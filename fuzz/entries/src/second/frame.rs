//! Frames as etherparse parses them, to compare with the capture.
//!
//! The capture wants less than etherparse can read, on purpose: no IPv6 extension headers, no IPv4 authentication header, and
//! no jumbo packet, whose lengths are zero (RFC 2675).

use std::net::IpAddr;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use postern::model::datagram::PAYLOAD_MAX;

/// Source, destination, port, and as much of the payload as the capture keeps.
pub type Read<'a> = (IpAddr, IpAddr, u16, &'a [u8]);

/// What an unfragmented UDP datagram to one of `ports` holds.
pub fn read<'a>(packet: &'a [u8], ports: &[u16]) -> Option<Read<'a>> {
    let sliced = SlicedPacket::from_ip(packet).ok()?;
    let (source, destination, beyond_udp): (IpAddr, IpAddr, bool) = match sliced.net? {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            (
                header.source_addr().into(),
                header.destination_addr().into(),
                ip.extensions().auth.is_some(),
            )
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            let beyond_udp =
                ip.extensions().first_header().is_some() || header.payload_length() == 0;
            (
                header.source_addr().into(),
                header.destination_addr().into(),
                beyond_udp,
            )
        }
        NetSlice::Arp(_) => return None,
    };
    let Some(TransportSlice::Udp(udp)) = sliced.transport else {
        return None;
    };
    let port = udp.destination_port();
    if beyond_udp || udp.length() == 0 || !ports.contains(&port) {
        return None;
    }
    let payload = udp.payload();
    // As in a log, an IPv4-mapped address counts as IPv4.
    Some((
        source.to_canonical(),
        destination.to_canonical(),
        port,
        &payload[..payload.len().min(PAYLOAD_MAX)],
    ))
}
