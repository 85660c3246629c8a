//! A UDP socket for one address of a gate, connected so that the system chooses the local address.
//!
//! Connecting a UDP socket sends nothing; it only asks the routing table.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use super::spoof::SpoofedSender;

#[derive(Debug)]
pub(super) struct Route {
    socket: UdpSocket,
    local: SocketAddr,
    gate: SocketAddr,
    spoofed: Option<SpoofedSender>,
}

impl Route {
    pub(super) fn to(gate: SocketAddr, spoofed: Option<SpoofedSender>) -> io::Result<Self> {
        let any = match gate {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(gate)?;
        let local = socket.local_addr()?;
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

    /// Sends one packet. UDP and raw sockets send a datagram whole or not at all.
    pub(super) fn send(&self, packet: &[u8]) -> io::Result<()> {
        match &self.spoofed {
            Some(spoofed) => spoofed.send(self.local.port(), self.gate, packet),
            None => self.socket.send(packet).map(drop),
        }
    }
}
