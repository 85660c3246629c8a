//! What a recorded packet is: a datagram to a knock port, or why the gate's own capture would not take it for one.
//!
//! The capture's own `frame` decides; what is said of the others decides nothing. Reads bytes of strangers.

use std::fmt;
use std::net::IpAddr;

use etherparse::{IpNumber, Ipv6ExtensionSlice, LaxIpPayloadSlice, LaxNetSlice, LaxSlicedPacket};

use super::super::frame;
use super::link::{self, NoIp};
use crate::model::datagram::Datagram;

/// The IPv6 extension headers that are looked behind (RFC 8200, section 4, and RFC 4302).
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
    /// What the gate would look at.
    Datagram(Datagram),
    /// Anything else.
    Other(Other),
}

/// A packet that the gate would not look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// Why not.
    pub why: Why,
    /// Where it came from, if it is IP.
    pub source: Option<IpAddr>,
    /// The UDP port that it is for, where that can be seen.
    pub port: Option<u16>,
}

/// Why the gate would not look at a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The recording's link type is not known here.
    LinkType(i32),
    /// It is no IP packet, by its ethertype.
    NotIp(u16),
    /// Only its beginning was recorded.
    Cut,
    /// Its headers do not fit together.
    Broken,
    /// It is of another protocol than UDP, by its number.
    NotUdp(u8),
    /// It is for another port.
    OtherPort,
    /// It is a part of a datagram.
    Fragment,
    /// It has headers between IPv6 and UDP.
    Extensions,
}

/// Reads a frame of this link type.
pub(super) fn read(link_type: i32, bytes: &[u8], ports: &[u16]) -> Found {
    let nothing = |why| {
        Found::Other(Other {
            why,
            source: None,
            port: None,
        })
    };
    match link::ip_in(link_type, bytes) {
        Ok(ip) => frame::parse(ip, ports).map_or_else(|| Found::Other(other(ip)), Found::Datagram),
        Err(NoIp::LinkType(number)) => nothing(Why::LinkType(number)),
        Err(NoIp::Ethertype(number)) => nothing(Why::NotIp(number)),
        Err(NoIp::Short) => nothing(Why::Broken),
    }
}

/// What an IP packet is that is no datagram to a knock port.
fn other(ip: &[u8]) -> Other {
    let nothing = |why| Other {
        why,
        source: None,
        port: None,
    };
    let Ok(LaxSlicedPacket { net: Some(net), .. }) = LaxSlicedPacket::from_ip(ip) else {
        return nothing(Why::Broken);
    };
    let (source, payload, first, plain): (IpAddr, &LaxIpPayloadSlice<'_>, bool, bool) = match &net {
        // The headers do not lead up to a payload. etherparse 0.21 would walk on behind the last whole one, out of the packet.
        LaxNetSlice::Ipv6(v6) if EXTENSIONS.contains(&v6.payload().ip_number) => {
            let why = if v6.payload().incomplete {
                Why::Cut
            } else {
                Why::Broken
            };
            return Other {
                why,
                source: Some(v6.header().source_addr().into()),
                port: None,
            };
        }
        LaxNetSlice::Ipv4(v4) => {
            let is_first = v4.header().fragments_offset().value() == 0;
            (
                v4.header().source_addr().into(),
                v4.payload(),
                is_first,
                true,
            )
        }
        LaxNetSlice::Ipv6(v6) => {
            let later = |header| matches!(header, Ipv6ExtensionSlice::Fragment(part) if part.fragment_offset().value() > 0);
            let is_first = !v6.extensions().clone().into_iter().any(later);
            (
                v6.header().source_addr().into(),
                v6.payload(),
                is_first,
                v6.extensions().is_empty(),
            )
        }
        LaxNetSlice::Arp(_) => return nothing(Why::Broken),
    };
    let is_udp = payload.ip_number == IpNumber::UDP;
    let port = payload
        .payload
        .get(2..4)
        .and_then(|port| port.try_into().ok())
        .map(u16::from_be_bytes)
        .filter(|_| is_udp && first);
    let why = match () {
        () if !is_udp => Why::NotUdp(payload.ip_number.0),
        () if payload.fragmented => Why::Fragment,
        () if !plain => Why::Extensions,
        () if payload.incomplete => Why::Cut,
        () if frame::parse(ip, port.as_slice()).is_some() => Why::OtherPort,
        () => Why::Broken,
    };
    Other {
        why,
        source: Some(source),
        port,
    }
}

impl Other {
    /// The link type, where that is what stood in the way.
    pub fn link_type(&self) -> Option<i32> {
        match self.why {
            Why::LinkType(number) => Some(number),
            _ => None,
        }
    }

    /// Whether somebody may take it for a knock: it is UDP for one of these ports, and yet not what the gate looks at.
    pub fn is_for(&self, ports: &[u16]) -> bool {
        self.port.is_some_and(|port| ports.contains(&port))
    }
}

/// One line, with what to do about it.
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
            Why::Broken => f.write_str("its headers do not fit together"),
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
                "a fragment: a knock is one whole packet, and the gate puts none together",
            ),
            Why::Extensions => f.write_str(
                "UDP behind IPv6 extension headers, which the gate does not look behind",
            ),
        }
    }
}
