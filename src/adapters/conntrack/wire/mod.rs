//! The bytes of three netlink interfaces: conntrack entries, TCP sockets (inet_diag), the host's own addresses.
//!
//! Encodes what is asked and reads what is answered; what is too short or of another kind is `None`. Pure. Numbers of netlink
//! are in the host's order, those of conntrack's attributes in the network's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Message types.
pub(super) const CONNTRACK_NEW: u16 = 1 << 8;
pub(super) const CONNTRACK_GET: u16 = (1 << 8) | 1;
pub(super) const CONNTRACK_DELETE: u16 = (1 << 8) | 2;
pub(super) const SOCKETS_BY_FAMILY: u16 = 20;
pub(super) const SOCKET_DESTROY: u16 = 21;
pub(super) const ADDRESSES_GET: u16 = 22;

pub(super) const TCP: u8 = 6;
const INET: u8 = 2;
const INET6: u8 = 10;

/// Attributes of a conntrack entry, and those inside them.
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

/// Replies were seen, both ways are in use, and it is in the table.
const SEEN_REPLY_ASSURED_CONFIRMED: u32 = 0b1110;
/// The kernel's own default for established TCP: five days without a packet.
const ESTABLISHED_FOR: u32 = 432_000;
const TCP_ESTABLISHED: u8 = 3;
/// The kernel does not know the windows of a connection that it has not seen, so it must not judge by them.
const BE_LIBERAL: [u8; 2] = [8, 8];

/// TCP states with a peer: established, fin-wait 1 and 2, close-wait, last-ack, closing.
const WITH_PEER: u32 = (1 << 1) | (1 << 4) | (1 << 5) | (1 << 8) | (1 << 9) | (1 << 11);
/// Ports, addresses, interface and cookie of a socket.
const SOCKET_ID: usize = 48;

/// One direction of an entry; ports are 0 where the protocol has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tuple {
    pub(super) protocol: u8,
    pub(super) source: SocketAddr,
    pub(super) target: SocketAddr,
}

/// An entry of the connection tracking table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) original: Tuple,
    pub(super) reply: Tuple,
    /// The attributes by which the kernel finds it again, as it wrote them.
    key: Vec<u8>,
}

/// A TCP socket with a peer, IPv4 in its own form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
    family: u8,
    /// Among it the cookie, by which no other socket is meant.
    id: [u8; SOCKET_ID],
}

impl Tuple {
    pub(super) fn is_v6(&self) -> bool {
        self.source.is_ipv6()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        nest(out, TUPLE_IP, |out| {
            let first = if self.is_v6() { 3 } else { 1 };
            put(out, first, &octets(self.source.ip()));
            put(out, first + 1, &octets(self.target.ip()));
        });
        nest(out, TUPLE_PROTOCOL, |out| {
            put(out, PROTOCOL_NUMBER, &[self.protocol]);
            put(out, SOURCE_PORT, &self.source.port().to_be_bytes());
            put(out, TARGET_PORT, &self.target.port().to_be_bytes());
        });
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (ip, protocol) = (find(bytes, TUPLE_IP)?, find(bytes, TUPLE_PROTOCOL)?);
        let address = |v4, v6| find(ip, v4).or_else(|| find(ip, v6)).and_then(address);
        let port = |kind| {
            find(protocol, kind)
                .and_then(|bytes| bytes.try_into().ok())
                .map_or(0, u16::from_be_bytes)
        };
        Some(Self {
            protocol: *find(protocol, PROTOCOL_NUMBER)?.first()?,
            source: SocketAddr::new(address(1, 3)?, port(SOURCE_PORT)),
            target: SocketAddr::new(address(2, 4)?, port(TARGET_PORT)),
        })
    }
}

/// Asks for all entries of a family, or, of a kernel that can choose, for those that this IPv4 address began. IPv6 cannot be chosen:
/// kernels up to 6.18 at least compare it the wrong way round and leave out the very entries that are meant.
pub(super) fn entries(v6: bool, source: Option<Ipv4Addr>) -> Vec<u8> {
    let mut out = netfilter_header(v6);
    if let Some(source) = source.filter(|_| !v6) {
        nest(&mut out, TUPLE_ORIGINAL, |out| {
            nest(out, TUPLE_IP, |out| put(out, 1, &source.octets()))
        });
        // attribute 1: of the original direction; bit 0: its source
        nest(&mut out, FILTER, |out| put(out, 1, &1_u32.to_ne_bytes()));
    }
    out
}

pub(super) fn read_entry(body: &[u8]) -> Option<Entry> {
    let attributes = body.get(4..)?;
    let mut key = Vec::new();
    for kind in [TUPLE_ORIGINAL, ZONE, ID] {
        let value = find(attributes, kind);
        value.into_iter().for_each(|value| {
            put(
                &mut key,
                if kind == TUPLE_ORIGINAL {
                    kind | NESTED
                } else {
                    kind
                },
                value,
            )
        });
    }
    let tuple = |kind| find(attributes, kind).and_then(Tuple::read);
    Some(Entry {
        original: tuple(TUPLE_ORIGINAL)?,
        reply: tuple(TUPLE_REPLY)?,
        key,
    })
}

/// Deletes this entry and no other that has taken its place.
pub(super) fn deletion(entry: &Entry) -> Vec<u8> {
    let mut out = netfilter_header(entry.original.is_v6());
    out.extend_from_slice(&entry.key);
    out
}

/// A new entry for a TCP connection that the peer of this socket began, as if all of it had been seen.
pub(super) fn adoption(socket: &Socket) -> Vec<u8> {
    let original = Tuple {
        protocol: TCP,
        source: socket.peer,
        target: socket.local,
    };
    let reply = Tuple {
        protocol: TCP,
        source: socket.local,
        target: socket.peer,
    };
    let mut out = netfilter_header(original.is_v6());
    nest(&mut out, TUPLE_ORIGINAL, |out| original.encode(out));
    nest(&mut out, TUPLE_REPLY, |out| reply.encode(out));
    put(
        &mut out,
        STATUS,
        &SEEN_REPLY_ASSURED_CONFIRMED.to_be_bytes(),
    );
    put(&mut out, TIMEOUT, &ESTABLISHED_FOR.to_be_bytes());
    nest(&mut out, PROTOCOL_INFO, |out| {
        nest(out, 1, |out| {
            put(out, 1, &[TCP_ESTABLISHED]);
            put(out, 4, &BE_LIBERAL);
            put(out, 5, &BE_LIBERAL);
        });
    });
    out
}

/// Asks for all TCP sockets of a family that have a peer.
pub(super) fn sockets(v6: bool) -> Vec<u8> {
    socket_request(if v6 { INET6 } else { INET }, WITH_PEER, &[0; SOCKET_ID])
}

pub(super) fn read_socket(body: &[u8]) -> Option<Socket> {
    let (family, id) = (*body.first()?, body.get(4..)?.first_chunk::<SOCKET_ID>()?);
    let port = |at: usize| {
        id.get(at..)
            .and_then(|bytes| bytes.first_chunk())
            .map(|bytes| u16::from_be_bytes(*bytes))
    };
    let address = |at: usize| {
        id.get(at..)
            .and_then(|bytes| address(bytes.get(..if family == INET6 { 16 } else { 4 })?))
    };
    let end = |port, address: IpAddr| SocketAddr::new(address.to_canonical(), port);
    Some(Socket {
        local: end(port(0)?, address(4)?),
        peer: end(port(2)?, address(20)?),
        family,
        id: *id,
    })
}

/// Ends this socket and no other: the kernel compares the cookie. Without it a listener of the same port could be meant.
pub(super) fn destruction(socket: &Socket) -> Vec<u8> {
    socket_request(socket.family, WITH_PEER, &socket.id)
}

fn socket_request(family: u8, states: u32, id: &[u8; SOCKET_ID]) -> Vec<u8> {
    let mut out = vec![family, TCP, 0, 0];
    out.extend_from_slice(&states.to_ne_bytes());
    out.extend_from_slice(id);
    out
}

/// Asks for the host's own addresses, of both families.
pub(super) fn addresses() -> Vec<u8> {
    vec![0; 8]
}

pub(super) fn read_address(body: &[u8]) -> Option<IpAddr> {
    let attributes = body.get(8..)?;
    // 2 is the own end of a link from point to point, where 1 is the other; IPv6 has 1 alone
    find(attributes, 2)
        .or_else(|| find(attributes, 1))
        .and_then(address)
}

fn netfilter_header(v6: bool) -> Vec<u8> {
    vec![if v6 { INET6 } else { INET }, 0, 0, 0]
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).map(|octets| IpAddr::from(Ipv4Addr::from(octets)));
    v4().or_else(|_| <[u8; 16]>::try_from(bytes).map(|octets| IpAddr::from(Ipv6Addr::from(octets))))
        .ok()
}

const NESTED: u16 = 0x8000;
const KIND: u16 = 0x3fff;

fn put(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend_from_slice(
        &u16::try_from(value.len().saturating_add(4))
            .unwrap_or(u16::MAX)
            .to_ne_bytes(),
    );
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn nest(out: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut inside = Vec::new();
    fill(&mut inside);
    put(out, kind | NESTED, &inside);
}

/// The value of the first attribute of this kind; attributes behind one that is no attribute are not there.
fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let ([low, high, first, second], _) = attributes.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([*low, *high]));
        let value = attributes.get(4..length)?;
        if u16::from_ne_bytes([*first, *second]) & KIND == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests;
