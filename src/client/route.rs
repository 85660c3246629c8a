//! The way to one address of a gate: a UDP socket that the system has bound to the address it would send from.
//!
//! Connecting a UDP socket sends nothing; it asks the routing table, which is how the local address is known.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use super::forge::Forge;

#[derive(Debug)]
pub(super) struct Route {
    socket: UdpSocket,
    local: SocketAddr,
    gate: SocketAddr,
    forge: Option<Forge>,
}

impl Route {
    pub(super) fn to(gate: SocketAddr, forge: Option<Forge>) -> io::Result<Self> {
        let any: IpAddr = if gate.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(gate)?;
        let local = socket.local_addr()?;
        Ok(Self {
            socket,
            local,
            gate,
            forge,
        })
    }

    /// The address that a knock will be sent from, unless its source is forged.
    pub(super) fn local(&self) -> IpAddr {
        self.local.ip()
    }

    pub(super) fn send(&self, packet: &[u8]) -> io::Result<()> {
        if let Some(forge) = &self.forge {
            return forge.send(self.local.port(), self.gate, packet);
        }
        match self.socket.send(packet)? {
            sent if sent == packet.len() => Ok(()),
            sent => Err(io::Error::other(format!(
                "only {sent} of {} bytes were sent",
                packet.len()
            ))),
        }
    }
}
