//! The ports of the gate that sockets of this host use, which the rules leave to the host.

use std::net::SocketAddr;

use crate::adapters::firewall::host::{tcp_sockets, udp_sockets};
use crate::model::service::{self, Ports};
use crate::model::settings::{BusyPort, Protection};

/// The knock ports that sockets of this host use. nft cannot load what it lists of the match for sockets, so a saved
/// rule set must not have it.
pub(super) fn busy_ports(protection: &Protection) -> Vec<BusyPort> {
    let ports: Vec<u16> = protection.socket_ports().collect();
    if ports.is_empty() {
        return Vec::new();
    }
    let sockets = udp_sockets();
    let busy = ports.into_iter().filter_map(|port| {
        let mut uses = sockets
            .iter()
            .filter(|socket| socket.port() == port)
            .peekable();
        uses.peek()?;
        let is_local = uses.all(|socket| socket.ip().is_loopback());
        Some(BusyPort { port, is_local })
    });
    busy.collect()
}

/// The ports of sequences that sockets of this host use.
pub(super) fn busy_sequence_ports(protection: &Protection) -> Vec<Ports> {
    if protection.sequence_ports.is_empty() {
        return Vec::new();
    }
    let of = |protocol: u8, sockets: Vec<SocketAddr>| {
        let ports = sockets.into_iter().map(|socket| socket.port());
        ports.filter_map(move |port| Ports::of_packet(protocol, port))
    };
    let used = of(6, tcp_sockets()).chain(of(17, udp_sockets()));
    let is_hit = |used: &Ports| {
        let mut sequences = protection.sequence_ports.iter();
        sequences.any(|ports| ports.overlap(*used).is_some())
    };
    service::joined(used.filter(is_hit).collect())
}
