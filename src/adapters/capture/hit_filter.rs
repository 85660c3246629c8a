//! The classic BPF program of the socket that captures hits: TCP and UDP to the ports of sequences, unless this host
//! sent it.
//!
//! Each test of a port range returns on the spot, so no jump is longer than the kernel allows.

use std::io;

use socket2::SockFilter;

use super::filter::{
    AND, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IF_ANY_BIT, IF_AT_LEAST, IF_EQUAL, IF_GREATER,
    IPV6_HEADER, JUMP, LOAD_BYTE, LOAD_HALF, LOAD_HALF_AT_X, LOAD_WORD, MORE_FRAGMENTS_OR_OFFSET,
    NETWORK_HEADER, OUTGOING, PACKET_TYPE, PROTOCOL, PROTOCOL_UDP, RETURN, X_CONSTANT,
    X_IPV4_HEADER_LEN,
};
use super::hit_frame::{ACK, SYN, TCP};
use crate::model::sequence_ports::{RANGES_MAX, SequencePorts};

/// Bytes of a passed packet that the kernel hands over: the longest headers.
const SNAP: u32 = 60 + 20;
const LOAD_BYTE_AT_X: u16 = 0x50;

/// The program for these ports.
///
/// # Errors
/// If there are no ports, or too many ranges.
pub fn program(sequences: &SequencePorts) -> io::Result<Vec<SockFilter>> {
    let count = sequences.ports.len();
    if count == 0 || count > RANGES_MAX {
        let why = format!("{count} ranges of ports; the kernel filter takes 1 to {RANGES_MAX}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let mut tcp = Vec::new();
    if sequences.only_syn {
        tcp.extend([
            plain(LOAD_BYTE_AT_X, NETWORK_HEADER + 13),
            plain(AND, u32::from(SYN | ACK)),
        ]);
        tcp.extend(drop_unless(IF_EQUAL, u32::from(SYN)));
    }
    tcp.extend(to_ports(sequences, TCP));
    let skip_tcp = u32::try_from(tcp.len()).unwrap_or(u32::MAX);

    let mut all = vec![plain(LOAD_WORD, PACKET_TYPE)];
    all.extend(drop_if(IF_EQUAL, OUTGOING));
    all.push(plain(LOAD_WORD, PROTOCOL));
    let mut ipv4 = vec![plain(LOAD_HALF, NETWORK_HEADER + 6)];
    ipv4.extend(drop_if(IF_ANY_BIT, MORE_FRAGMENTS_OR_OFFSET));
    ipv4.push(plain(X_IPV4_HEADER_LEN, NETWORK_HEADER));
    ipv4.push(plain(LOAD_BYTE, NETWORK_HEADER + 9));
    let ipv6 = [
        plain(X_CONSTANT, IPV6_HEADER),
        plain(LOAD_BYTE, NETWORK_HEADER + 6),
    ];
    // IPv6 first; the last instruction of it jumps over that of IPv4.
    all.push(SockFilter::new(IF_EQUAL, 0, 3, ETHERTYPE_IPV6));
    all.extend(ipv6);
    let over = ipv4.len().saturating_add(2);
    all.push(plain(JUMP, u32::try_from(over).unwrap_or(u32::MAX)));
    all.extend(drop_unless(IF_EQUAL, ETHERTYPE_IPV4));
    all.extend(ipv4);
    // The accumulator has the protocol, and X the length of the IP header.
    all.push(SockFilter::new(IF_EQUAL, 1, 0, u32::from(TCP)));
    all.push(plain(JUMP, skip_tcp));
    all.extend(tcp);
    all.extend(drop_unless(IF_EQUAL, PROTOCOL_UDP));
    all.extend(to_ports(
        sequences,
        u8::try_from(PROTOCOL_UDP).unwrap_or_default(),
    ));
    Ok(all)
}

fn plain(code: u16, operand: u32) -> SockFilter {
    SockFilter::new(code, 0, 0, operand)
}

fn drop_if(code: u16, operand: u32) -> [SockFilter; 2] {
    [SockFilter::new(code, 0, 1, operand), plain(RETURN, 0)]
}

fn drop_unless(code: u16, operand: u32) -> [SockFilter; 2] {
    [SockFilter::new(code, 1, 0, operand), plain(RETURN, 0)]
}

/// Passes packets of this protocol to one of its ports, and drops all others.
fn to_ports(sequences: &SequencePorts, protocol: u8) -> Vec<SockFilter> {
    let mut all = vec![plain(LOAD_HALF_AT_X, NETWORK_HEADER + 2)];
    let ports = sequences.ports.iter();
    let ranges = ports
        .filter(|ports| ports.protocol() == protocol)
        .filter_map(|ports| ports.range());
    for (first, last) in ranges {
        all.push(SockFilter::new(IF_AT_LEAST, 0, 2, u32::from(first)));
        all.push(SockFilter::new(IF_GREATER, 1, 0, u32::from(last)));
        all.push(plain(RETURN, SNAP));
    }
    all.push(plain(RETURN, 0));
    all
}
