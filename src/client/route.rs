//! The way to one address of a gate: a UDP socket that the system has bound to the address it would send from.
//!
//! Connecting a UDP socket sends nothing; it asks the routing table, which is how the local address is known.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

#[derive(Debug)]
pub(super) struct Route {
    socket: UdpSocket,
    local: IpAddr,
}

impl Route {
    pub(super) fn to(gate: SocketAddr) -> io::Result<Self> {
        let any: IpAddr = if gate.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(gate)?;
        let local = socket.local_addr()?.ip();
        Ok(Self { socket, local })
    }

    /// The address that a knock will be sent from.
    pub(super) fn local(&self) -> IpAddr {
        self.local
    }

    pub(super) fn send(&self, packet: &[u8]) -> io::Result<()> {
        match self.socket.send(packet)? {
            sent if sent == packet.len() => Ok(()),
            sent => Err(io::Error::other(format!("only {sent} of {} bytes were sent", packet.len()))),
        }
    }
}
