//! Sends a knock with another source address (`--spoof-source`), over a raw socket.
//!
//! Needs Linux, and root or CAP_NET_RAW. The knock itself must name the address to allow.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use etherparse::PacketBuilder;
use rustix::net::{SendFlags, sendto};

use crate::model::exit::{ExitError, FAILED, PERMISSION};

const HOP_LIMIT: u8 = 64;

/// A source address that is not this machine's, and a raw socket that can send from it.
#[derive(Debug)]
pub(super) struct SpoofedSender {
    source: IpAddr,
    socket: OwnedFd,
}

impl SpoofedSender {
    pub(super) fn new(source: IpAddr) -> Result<Self, ExitError> {
        let socket = raw_socket(source).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => ExitError::new(
                PERMISSION,
                "--spoof-source needs a raw socket, and CAP_NET_RAW is missing; \
                 run it as root, or leave out --spoof-source",
            ),
            _ => ExitError::new(
                FAILED,
                format!("cannot open a raw socket: {error}; leave out --spoof-source"),
            ),
        })?;
        Ok(Self { source, socket })
    }

    pub(super) fn send(&self, port: u16, to: SocketAddr, payload: &[u8]) -> io::Result<()> {
        let packet = packet(SocketAddr::new(self.source, port), to, payload)?;
        // A raw socket has no ports: the kernel requires zero here.
        let mut host = to;
        host.set_port(0);
        sendto(&self.socket, &packet, SendFlags::empty(), &host)?;
        Ok(())
    }
}

/// A whole IP packet. The kernel fills in the rest of an IPv4 header.
fn packet(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> io::Result<Vec<u8>> {
    let ip = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            PacketBuilder::ipv4(from.octets(), to.octets(), HOP_LIMIT)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            PacketBuilder::ipv6(from.octets(), to.octets(), HOP_LIMIT)
        }
        _ => return Err(io::Error::other("source and destination differ in family")),
    };
    let udp = ip.udp(from.port(), to.port());
    let mut bytes = Vec::with_capacity(udp.size(payload.len()));
    udp.write(&mut bytes, payload).map_err(io::Error::other)?;
    Ok(bytes)
}

#[cfg(target_os = "linux")]
fn raw_socket(source: IpAddr) -> io::Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};
    let family = match source {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    // IPPROTO_RAW: the sender writes the IP header itself.
    let protocol = Some(ipproto::RAW);
    Ok(socket_with(
        family,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        protocol,
    )?)
}

#[cfg(not(target_os = "linux"))]
fn raw_socket(_: IpAddr) -> io::Result<OwnedFd> {
    Err(io::Error::other("only Linux can do this"))
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    use super::*;

    #[test]
    fn packet_has_spoofed_source_and_checksum() {
        for (from, to) in [
            ("203.0.113.9:40000", "192.0.2.1:62201"),
            ("[2001:db8::9]:40000", "[2001:db8::1]:62201"),
        ] {
            let from: SocketAddr = from.parse().unwrap();
            let bytes = packet(from, to.parse().unwrap(), &[7; 200]).unwrap();
            let read = SlicedPacket::from_ip(&bytes).unwrap();
            let source = match read.net.as_ref().unwrap() {
                NetSlice::Ipv4(ip) => IpAddr::V4(ip.header().source_addr()),
                NetSlice::Ipv6(ip) => IpAddr::V6(ip.header().source_addr()),
                NetSlice::Arp(_) => panic!("no ARP"),
            };
            let Some(TransportSlice::Udp(udp)) = read.transport else {
                panic!("no UDP")
            };
            assert_eq!(SocketAddr::new(source, udp.source_port()), from);
            let expected = (62201, &[7; 200][..]);
            assert_eq!((udp.destination_port(), udp.payload()), expected);
            assert_ne!(udp.checksum(), 0, "IPv6 refuses UDP without a checksum");
        }
        let v4 = "203.0.113.9:1".parse().unwrap();
        assert!(packet(v4, "[::1]:1".parse().unwrap(), &[]).is_err());
    }
}
