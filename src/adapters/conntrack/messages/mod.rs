//! Messages of three netlink interfaces: conntrack entries, TCP sockets (inet_diag) and the host's addresses. Pure.
//!
//! A message that is too short or of another kind is read as `None`. Netlink's own numbers are in the host's byte order, those in
//! conntrack's attributes in network byte order.

use std::net::{IpAddr, SocketAddr};

use netlink_packet_core::{NLA_F_NESTED, NLM_F_CREATE, NLM_F_EXCL};

use crate::adapters::netlink::Message;
use crate::adapters::netlink::attributes::{Attributes, address, find, octets};

// message types
const CONNTRACK_NEW: u16 = 1 << 8;
const CONNTRACK_GET: u16 = (1 << 8) | 1;
const CONNTRACK_DELETE: u16 = (1 << 8) | 2;
const SOCKETS_BY_FAMILY: u16 = 20;
const SOCKET_DESTROY: u16 = 21;
const ADDRESSES_GET: u16 = 22;

pub(super) const TCP: u8 = 6;
const INET: u8 = 2;
const INET6: u8 = 10;

// attributes of a conntrack entry (linux/netfilter/nfnetlink_conntrack.h), and those inside them
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const PROTOCOL_INFO: u16 = 4;
const TIMEOUT: u16 = 7;
const ID: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const TARGET_PORT: u16 = 3;

const SEEN_REPLY_ASSURED_CONFIRMED: u32 = 0b1110;
/// The kernel's default for established TCP: five days without a packet.
const ESTABLISHED_S: u32 = 432_000;
const TCP_ESTABLISHED: u8 = 3;
/// The kernel has not seen the windows of an adopted connection, so it must not judge by them.
const BE_LIBERAL: [u8; 2] = [8, 8];

/// TCP states with a peer: established, fin-wait 1 and 2, close-wait, last-ack, closing.
const WITH_PEER: u32 = (1 << 1) | (1 << 4) | (1 << 5) | (1 << 8) | (1 << 9) | (1 << 11);
const SOCKET_ID_LEN: usize = 48;

/// One direction of an entry. Ports are 0 if the protocol has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tuple {
    pub(super) protocol: u8,
    pub(super) source: SocketAddr,
    pub(super) target: SocketAddr,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) original: Tuple,
    pub(super) reply: Tuple,
    key: Attributes,
}

/// A TCP socket with a peer. IPv4 addresses are in IPv4 form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TcpSocket {
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
    /// This host has not closed it: established, or close-wait.
    pub(super) is_open: bool,
    family: u8,
    /// It contains the cookie, which belongs to this socket alone.
    id: [u8; SOCKET_ID_LEN],
}

impl Tuple {
    fn encode(&self) -> Attributes {
        let first = if self.source.is_ipv6() { 3 } else { 1 };
        let ip = Attributes::new()
            .bytes(first, &octets(self.source.ip()))
            .bytes(first + 1, &octets(self.target.ip()));
        let protocol = Attributes::new()
            .bytes(PROTOCOL_NUMBER, &[self.protocol])
            .bytes(SOURCE_PORT, &self.source.port().to_be_bytes())
            .bytes(TARGET_PORT, &self.target.port().to_be_bytes());
        Attributes::new()
            .nested(TUPLE_IP, &ip)
            .nested(TUPLE_PROTOCOL, &protocol)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (ip, protocol) = (find(bytes, TUPLE_IP)?, find(bytes, TUPLE_PROTOCOL)?);
        let address = |v4, v6| find(ip, v4).or_else(|| find(ip, v6)).and_then(address);
        let port = |kind| {
            let bytes = find(protocol, kind).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u16::from_be_bytes)
        };
        Some(Self {
            protocol: *find(protocol, PROTOCOL_NUMBER)?.first()?,
            source: SocketAddr::new(address(1, 3)?, port(SOURCE_PORT)),
            target: SocketAddr::new(address(2, 4)?, port(TARGET_PORT)),
        })
    }
}

fn conntrack(kind: u16, flags: u16, ipv6: bool, attributes: &Attributes) -> Message {
    Message::new(kind, flags, &[family(ipv6), 0, 0, 0], attributes)
}

fn family(ipv6: bool) -> u8 {
    if ipv6 { INET6 } else { INET }
}

/// Asks for all entries of a family, or only for those that this IPv4 address opened if the kernel can filter. Kernels
/// up to 6.18 at least compare an IPv6 filter wrongly and leave out the entries that are wanted.
pub(super) fn list_entries(ipv6: bool, source: Option<IpAddr>) -> Message {
    let mut attributes = Attributes::new();
    if let Some(IpAddr::V4(source)) = source {
        let ip = Attributes::new().bytes(1, &source.octets());
        // attribute 1: of the original direction; bit 0: its source
        let filter = Attributes::new().bytes(1, &1_u32.to_ne_bytes());
        attributes = attributes
            .nested(TUPLE_ORIGINAL, &Attributes::new().nested(TUPLE_IP, &ip))
            .nested(FILTER, &filter);
    }
    conntrack(CONNTRACK_GET, 0, ipv6, &attributes)
}

pub(super) fn read_entry(body: &[u8]) -> Option<Entry> {
    let attributes = body.get(4..)?;
    let mut key = Attributes::new();
    for (kind, flags) in [(TUPLE_ORIGINAL, NLA_F_NESTED), (ZONE, 0), (ID, 0)] {
        if let Some(value) = find(attributes, kind) {
            key = key.bytes(kind | flags, value);
        }
    }
    let tuple = |kind| find(attributes, kind).and_then(Tuple::read);
    Some(Entry {
        original: tuple(TUPLE_ORIGINAL)?,
        reply: tuple(TUPLE_REPLY)?,
        key,
    })
}

/// Deletes this entry, but not one that has taken its place.
pub(super) fn delete_entry(entry: &Entry) -> Message {
    let ipv6 = entry.original.source.is_ipv6();
    conntrack(CONNTRACK_DELETE, 0, ipv6, &entry.key)
}

/// Adds an entry for the TCP connection that the peer of this socket opened, as if the kernel had tracked all of it.
pub(super) fn add_entry(socket: &TcpSocket) -> Message {
    let tuple = |source, target| Tuple {
        protocol: TCP,
        source,
        target,
    };
    let state = Attributes::new()
        .bytes(1, &[TCP_ESTABLISHED])
        .bytes(4, &BE_LIBERAL)
        .bytes(5, &BE_LIBERAL);
    let attributes = Attributes::new()
        .nested(TUPLE_ORIGINAL, &tuple(socket.peer, socket.local).encode())
        .nested(TUPLE_REPLY, &tuple(socket.local, socket.peer).encode())
        .number(STATUS, SEEN_REPLY_ASSURED_CONFIRMED)
        .number(TIMEOUT, ESTABLISHED_S)
        .nested(PROTOCOL_INFO, &Attributes::new().nested(1, &state));
    let flags = NLM_F_CREATE | NLM_F_EXCL;
    conntrack(CONNTRACK_NEW, flags, socket.peer.is_ipv6(), &attributes)
}

pub(super) fn list_sockets(ipv6: bool) -> Message {
    socket_message(SOCKETS_BY_FAMILY, family(ipv6), &[0; SOCKET_ID_LEN])
}

/// Ends this socket, but not a listener of the same port: the kernel compares the cookie.
pub(super) fn end_socket(socket: &TcpSocket) -> Message {
    socket_message(SOCKET_DESTROY, socket.family, &socket.id)
}

fn socket_message(kind: u16, family: u8, id: &[u8; SOCKET_ID_LEN]) -> Message {
    let header = [&[family, TCP, 0, 0], &WITH_PEER.to_ne_bytes()[..], id].concat();
    Message::new(kind, 0, &header, &Attributes::new())
}

pub(super) fn read_socket(body: &[u8]) -> Option<TcpSocket> {
    let family = *body.first()?;
    let id = body.get(4..)?.first_chunk::<SOCKET_ID_LEN>()?;
    let length = if family == INET6 { 16 } else { 4 };
    let end = |port_at: usize, address_at: usize| {
        let port = u16::from_be_bytes(*id.get(port_at..)?.first_chunk()?);
        let address = address(id.get(address_at..)?.get(..length)?)?;
        Some(SocketAddr::new(address.to_canonical(), port))
    };
    Some(TcpSocket {
        local: end(0, 4)?,
        peer: end(2, 20)?,
        is_open: [1, 8].contains(body.get(1)?),
        family,
        id: *id,
    })
}

pub(super) fn list_addresses() -> Message {
    Message::new(ADDRESSES_GET, 0, &[0; 8], &Attributes::new())
}

pub(super) fn read_address(body: &[u8]) -> Option<IpAddr> {
    let attributes = body.get(8..)?;
    // on a point-to-point link, 2 is the own address and 1 the peer's; otherwise there may be only 1
    let found = find(attributes, 2).or_else(|| find(attributes, 1));
    found.and_then(address)
}

#[cfg(test)]
mod tests;
