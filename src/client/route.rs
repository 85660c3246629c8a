//! A UDP socket for one address of a gate, connected so that the system chooses the local address.
//!
//! Connecting a UDP socket sends nothing; it only asks the routing table.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::spoof::SpoofedSender;

/// A knock must not need a fragment: gates take whole packets only, and many firewalls drop fragments. The system knows
/// the MTU of its own link, but not of a link further on. So over IPv4 a packet stays below the smallest MTU in use
/// (RFC 1191, section 7.1). Links of IPv6 carry 1280 bytes.
const SMALLEST_MTU_V4: usize = 296;
/// The longest knock where nothing is known of the path.
pub(super) const UNKNOWN_PATH: usize = SMALLEST_MTU_V4 - IPV4_AND_UDP;
/// RFC 863. Nothing is sent to it.
const DISCARD: u16 = 9;
const IPV4_AND_UDP: usize = 20 + 8;
const IPV6_AND_UDP: usize = 40 + 8;

#[derive(Debug)]
pub(super) struct Route {
    socket: UdpSocket,
    local: SocketAddr,
    gate: SocketAddr,
    spoofed: Option<SpoofedSender>,
}

impl Route {
    pub(super) fn to(gate: SocketAddr, spoofed: Option<SpoofedSender>) -> io::Result<Self> {
        let family = match gate {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
        let socket = UdpSocket::from(socket);
        // Where a sequence goes, no port is known.
        let peer = match gate.port() {
            0 => SocketAddr::new(gate.ip(), DISCARD),
            _ => gate,
        };
        socket.connect(peer)?;
        let local = socket.local_addr()?;
        // A new address is not used before the kernel has looked for a duplicate. No router forwards the one that is left.
        if is_link_local(local.ip()) && !is_link_local(gate.ip()) {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        Ok(Self {
            socket,
            local,
            gate,
            spoofed,
        })
    }

    /// The address that the system sends from; a spoofed source differs from it.
    pub(super) fn local(&self) -> IpAddr {
        self.local.ip()
    }

    /// The gate's address, for packets that are not this socket's.
    pub(super) fn gate(&self) -> io::Result<IpAddr> {
        match self.spoofed {
            Some(_) => {
                let what = "a sequence cannot be sent from a spoofed source";
                Err(io::Error::new(io::ErrorKind::InvalidInput, what))
            }
            None => Ok(self.gate.ip()),
        }
    }

    /// The longest knock that passes in one piece.
    pub(super) fn longest(&self) -> usize {
        let mtu = mtu(&self.socket, self.gate);
        match self.gate {
            SocketAddr::V4(_) => {
                let mtu = mtu.map_or(SMALLEST_MTU_V4, |mtu| mtu.min(SMALLEST_MTU_V4));
                mtu.saturating_sub(IPV4_AND_UDP)
            }
            SocketAddr::V6(_) => {
                let longest = mtu.map(|mtu| mtu.saturating_sub(IPV6_AND_UDP));
                longest.unwrap_or(UNKNOWN_PATH)
            }
        }
    }

    /// Sends one packet. UDP and raw sockets send a datagram whole or not at all.
    pub(super) fn send(&self, packet: &[u8]) -> io::Result<()> {
        match &self.spoofed {
            Some(spoofed) => spoofed.send(self.local.port(), self.gate, packet),
            None => self.socket.send(packet).map(drop),
        }
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// The MTU of the route, as far as the system knows it.
#[cfg(target_os = "linux")]
fn mtu(socket: &UdpSocket, gate: SocketAddr) -> Option<usize> {
    let mtu = match gate {
        SocketAddr::V4(_) => rustix::net::sockopt::ip_mtu(socket),
        SocketAddr::V6(_) => rustix::net::sockopt::ipv6_mtu(socket),
    };
    usize::try_from(mtu.ok()?).ok()
}

#[cfg(not(target_os = "linux"))]
fn mtu(_: &UdpSocket, _: SocketAddr) -> Option<usize> {
    None
}
