//! Sends a knock with a forged outer source address, for who needs it: a raw socket, so root or CAP_NET_RAW, and Linux.
//!
//! What is let in stands inside the knock; the outer address says nothing then.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use etherparse::PacketBuilder;
use rustix::net::{SendFlags, sendto};

use super::{Exit, Failure};

/// Hops, as the system's own packets have them.
const HOPS: u8 = 64;

/// A source that is not this machine's own, and the socket that lets it stand.
#[derive(Debug)]
pub(super) struct Forge {
    source: IpAddr,
    socket: OwnedFd,
}

impl Forge {
    pub(super) fn of(source: IpAddr) -> Result<Self, Failure> {
        let socket = raw_socket(source).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => {
                let what = "a forged source needs a raw socket, and this process may not open one (CAP_NET_RAW is missing)";
                Failure::new(Exit::Permission, what, "run it as root, or leave out --spoof-source")
            }
            io::ErrorKind::Unsupported => Failure::new(Exit::Failed, error, "leave out --spoof-source"),
            _ => Failure::new(Exit::Failed, format!("cannot open a raw socket: {error}"), "leave out --spoof-source"),
        })?;
        Ok(Self { source, socket })
    }

    /// `port` is what the source port shall be.
    pub(super) fn send(&self, port: u16, to: SocketAddr, payload: &[u8]) -> io::Result<()> {
        let packet = packet(SocketAddr::new(self.source, port), to, payload)?;
        // For a raw socket the port is no port: it must be zero.
        let mut host = to;
        host.set_port(0);
        match sendto(&self.socket, &packet, SendFlags::empty(), &host)? {
            sent if sent == packet.len() => Ok(()),
            sent => Err(io::Error::other(format!(
                "only {sent} of {} bytes were sent",
                packet.len()
            ))),
        }
    }
}

/// A whole IP packet. The kernel fills in what is left of an IPv4 head.
fn packet(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> io::Result<Vec<u8>> {
    let head = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), HOPS),
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), HOPS),
        _ => return Err(io::Error::other("the forged source is of the other family")),
    };
    let head = head.udp(from.port(), to.port());
    let mut bytes = Vec::with_capacity(head.size(payload.len()));
    head.write(&mut bytes, payload).map_err(io::Error::other)?;
    Ok(bytes)
}

/// IPPROTO_RAW: whoever sends through it writes the IP head, too.
#[cfg(target_os = "linux")]
fn raw_socket(source: IpAddr) -> io::Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};
    let family = if source.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    Ok(socket_with(
        family,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(ipproto::RAW),
    )?)
}

#[cfg(not(target_os = "linux"))]
fn raw_socket(_: IpAddr) -> io::Result<OwnedFd> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "only on Linux can a knock be sent with a forged source",
    ))
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    use super::*;

    #[test]
    fn a_packet_has_the_forged_source_and_right_checksums() {
        for (from, to) in [
            ("203.0.113.9:40000", "192.0.2.1:62201"),
            ("[2001:db8::9]:40000", "[2001:db8::1]:62201"),
        ] {
            let bytes = packet(from.parse().unwrap(), to.parse().unwrap(), &[7; 200]).unwrap();
            let read = SlicedPacket::from_ip(&bytes).unwrap();
            let source = match read.net.as_ref().unwrap() {
                NetSlice::Ipv4(ip) => IpAddr::V4(ip.header().source_addr()),
                NetSlice::Ipv6(ip) => IpAddr::V6(ip.header().source_addr()),
                NetSlice::Arp(_) => panic!("no ARP"),
            };
            let Some(TransportSlice::Udp(udp)) = read.transport else {
                panic!("no UDP")
            };
            assert_eq!(
                SocketAddr::new(source, udp.source_port()),
                from.parse().unwrap()
            );
            assert_eq!(
                (udp.destination_port(), udp.payload()),
                (62201, &[7; 200][..])
            );
            assert_ne!(udp.checksum(), 0, "without one, IPv6 would not take it");
        }
        assert!(
            packet(
                "203.0.113.9:1".parse().unwrap(),
                "[::1]:1".parse().unwrap(),
                &[]
            )
            .is_err()
        );
    }
}
