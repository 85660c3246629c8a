//! Classifies a recorded packet: a datagram to a knock port, or why the gate's capture would ignore it.
//!
//! `frame` decides, as in the gate; the reason is only for display. The bytes are untrusted.

use std::fmt;
use std::net::IpAddr;

use etherparse::{IpNumber, Ipv6ExtensionSlice, LaxIpPayloadSlice, LaxNetSlice, LaxSlicedPacket};

use super::super::frame;
use super::link_header::{self, NotIp};
use crate::model::datagram::Datagram;

/// The IPv6 extension headers that are parsed (RFC 8200, section 4, and RFC 4302).
const EXTENSIONS: [IpNumber; 5] = [
    IpNumber::IPV6_HEADER_HOP_BY_HOP,
    IpNumber::IPV6_ROUTE_HEADER,
    IpNumber::IPV6_FRAGMENTATION_HEADER,
    IpNumber::AUTHENTICATION_HEADER,
    IpNumber::IPV6_DESTINATION_OPTIONS,
];

/// What a packet is.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum Found {
    /// A datagram that the gate would check.
    Datagram(Datagram),
    /// Anything else.
    Other(Other),
}

/// A packet that the gate would ignore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// Why the gate would ignore it.
    pub why: Why,
    /// Its source address, if it is IP.
    pub source: Option<IpAddr>,
    /// Its UDP port, if that is known.
    pub port: Option<u16>,
}

/// Why the gate would ignore a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The link type is not supported.
    LinkType(i32),
    /// It is not IP but has this ethertype.
    NotIp(u16),
    /// Only its beginning was recorded.
    Cut,
    /// Its headers contradict each other.
    Broken,
    /// It has this protocol number, not UDP's.
    NotUdp(u8),
    /// It goes to another port.
    OtherPort,
    /// It is a fragment.
    Fragment,
    /// It has headers between IPv6 and UDP.
    Extensions,
}

pub(super) fn read(link_type: i32, bytes: &[u8], ports: &[u16]) -> Found {
    let why = match link_header::ip_packet(link_type, bytes) {
        Ok(ip) => {
            return frame::parse(ip, ports)
                .map_or_else(|| Found::Other(other(ip)), Found::Datagram);
        }
        Err(NotIp::LinkType(number)) => Why::LinkType(number),
        Err(NotIp::Ethertype(number)) => Why::NotIp(number),
        Err(NotIp::Short) => Why::Broken,
    };
    Found::Other(Other::unknown(why))
}

fn other(ip: &[u8]) -> Other {
    let Ok(LaxSlicedPacket { net: Some(net), .. }) = LaxSlicedPacket::from_ip(ip) else {
        return Other::unknown(Why::Broken);
    };
    let (source, payload, first, plain): (IpAddr, &LaxIpPayloadSlice<'_>, bool, bool) = match &net {
        LaxNetSlice::Ipv4(v4) => {
            let (header, payload) = (v4.header(), v4.payload());
            let is_first = header.fragments_offset().value() == 0;
            (header.source_addr().into(), payload, is_first, true)
        }
        // the headers end without a payload; etherparse 0.21 would continue after the last whole one, out of the packet
        LaxNetSlice::Ipv6(v6) if EXTENSIONS.contains(&v6.payload().ip_number) => {
            let is_cut = v6.payload().incomplete;
            return Other {
                why: if is_cut { Why::Cut } else { Why::Broken },
                source: Some(v6.header().source_addr().into()),
                port: None,
            };
        }
        LaxNetSlice::Ipv6(v6) => {
            let (source, payload) = (v6.header().source_addr().into(), v6.payload());
            let later = |header| matches!(header, Ipv6ExtensionSlice::Fragment(part) if part.fragment_offset().value() > 0);
            let is_first = !v6.extensions().clone().into_iter().any(later);
            (source, payload, is_first, v6.extensions().is_empty())
        }
        LaxNetSlice::Arp(_) => return Other::unknown(Why::Broken),
    };
    let is_udp = payload.ip_number == IpNumber::UDP;
    let port = payload.payload.get(2..4).filter(|_| is_udp && first);
    let port = port.and_then(|port| port.try_into().ok());
    let port = port.map(u16::from_be_bytes);
    let why = match () {
        () if !is_udp => Why::NotUdp(payload.ip_number.0),
        () if payload.fragmented => Why::Fragment,
        () if !plain => Why::Extensions,
        () if payload.incomplete => Why::Cut,
        () if frame::parse(ip, port.as_slice()).is_some() => Why::OtherPort,
        () => Why::Broken,
    };
    let source = Some(source);
    Other { why, source, port }
}

impl Other {
    fn unknown(why: Why) -> Self {
        let (source, port) = (None, None);
        Self { why, source, port }
    }

    /// The link type, if it is the reason.
    pub fn link_type(&self) -> Option<i32> {
        match self.why {
            Why::LinkType(number) => Some(number),
            _ => None,
        }
    }

    /// Whether it looks like a knock: UDP to one of these ports, although the gate would ignore it.
    pub fn is_for(&self, ports: &[u16]) -> bool {
        self.port.is_some_and(|port| ports.contains(&port))
    }
}

/// One line, with the cure.
impl fmt::Display for Other {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.why {
            Why::LinkType(number) => write!(
                f,
                "recorded with link type {number}, which is not read here; record on another interface"
            ),
            Why::NotIp(0) => f.write_str("no IP packet"),
            Why::NotIp(ethertype) => write!(f, "no IP packet, ethertype {ethertype:#06x}"),
            Why::Cut => {
                f.write_str("only its beginning was recorded; record whole packets (tcpdump -s 0)")
            }
            Why::Broken => f.write_str("its headers contradict each other"),
            Why::NotUdp(number) => match IpNumber(number).keyword_str() {
                Some(name) => write!(f, "not UDP but {name}"),
                None => write!(f, "not UDP but protocol {number}"),
            },
            Why::OtherPort => write!(
                f,
                "UDP to port {}, which is no knock port",
                self.port.unwrap_or_default()
            ),
            Why::Fragment => f.write_str(
                "a fragment: a knock is one whole packet, and the gate does not reassemble fragments",
            ),
            Why::Extensions => f.write_str(
                "UDP after IPv6 extension headers, which the gate does not parse",
            ),
        }
    }
}
