//! Capture from a group of NFLOG: the firewall's own rules send knocks and hits there. No packet socket is needed.
//!
//! `open` needs CAP_NET_ADMIN. `NflogCapture` needs no privilege, and the kernel takes no command from it. A group has one owner, so
//! engines share the socket one after the other.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;

use super::burst::Burst;
use super::drops::Drops;
use super::packet::CapturedInterface;
use super::pause::Pause;
use super::{Capture, Caught, frame, hit_frame};
use crate::adapters::netlink::nflog;
use crate::model::datagram::Datagram;
use crate::model::sensor::KNOCK_COPIED;

/// The kernel's buffer: thousands of knocks.
const RECEIVE_BUFFER: usize = 32 << 20;
/// Pause after an error, so that a lasting error does not spin.
const PAUSE: Duration = Duration::from_millis(100);
/// Errors in a row after which the capture stops.
const FAILURES_MAX: u32 = 50;
const LENGTH_MAX: usize = KNOCK_COPIED as usize + nflog::ENVELOPE;

/// Binds the group.
///
/// # Errors
/// If the group is taken, or the kernel has no NFLOG.
pub fn open(group: u16) -> io::Result<OwnedFd> {
    nflog::bind(group, u32::from(KNOCK_COPIED), RECEIVE_BUFFER)
}

/// Reads packets that came in by some interfaces, or by any.
pub struct NflogCapture {
    socket: OwnedFd,
    /// Empty for every interface.
    interfaces: Vec<CapturedInterface>,
    ports: Vec<u16>,
    burst: Burst<LENGTH_MAX>,
    pause: Pause,
    failures: u32,
}

impl NflogCapture {
    /// Reads a socket of [`open`]. Packets to one of these ports are knocks, all others hits.
    pub fn new(socket: OwnedFd, interfaces: Vec<CapturedInterface>, ports: Vec<u16>) -> Self {
        Self {
            socket,
            interfaces,
            ports,
            burst: Burst::new(),
            pause: Pause::default(),
            failures: 0,
        }
    }

    fn failed(&mut self, error: io::Error) -> io::Result<Caught> {
        match Errno::from_io_error(&error) {
            // The kernel had no room and counts what it dropped, or another engine was faster.
            Some(Errno::NOBUFS | Errno::AGAIN | Errno::INTR) => {}
            _ => {
                self.failures += 1;
                if self.failures >= FAILURES_MAX {
                    return Err(error);
                }
                self.pause.begin(PAUSE);
            }
        }
        Ok(Caught::Nothing)
    }
}

impl Capture for NflogCapture {
    fn take(&mut self, datagram: &mut Datagram) -> io::Result<Caught> {
        if self.burst.is_over() && self.pause.is_over() {
            match self.burst.fill(self.socket.as_fd()) {
                Ok(_) => self.failures = 0,
                Err(error) => return self.failed(error),
            }
        }
        let message = self.burst.next();
        Ok(message.map_or(Caught::Nothing, |message| {
            caught(message, &self.interfaces, &self.ports, datagram)
        }))
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.pause.is_over().then(|| self.socket.as_fd())
    }

    fn holds(&self) -> bool {
        !self.burst.is_over()
    }

    fn drops(&self) -> Option<Drops> {
        Drops::of(self.socket.as_fd()).ok()
    }
}

/// Each message of the kernel has one packet.
fn caught(
    message: &[u8],
    interfaces: &[CapturedInterface],
    ports: &[u16],
    datagram: &mut Datagram,
) -> Caught {
    let packet = nflog::packets(message).next();
    let is_wanted = |index: u32| {
        let mut named = interfaces.iter().map(CapturedInterface::index);
        interfaces.is_empty() || (index != 0 && named.any(|one| one == index))
    };
    let Some(packet) = packet.filter(|packet| is_wanted(packet.interface)) else {
        return Caught::Nothing;
    };
    let knock = frame::parse_into(packet.bytes, ports, datagram).map(|()| Caught::Datagram);
    let hit = || hit_frame::parse(packet.bytes).map(Caught::Hit);
    knock.or_else(hit).unwrap_or(Caught::Nothing)
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::*;
    use crate::adapters::netlink::attributes::Attributes;
    use crate::adapters::netlink::nflog::{IN_INTERFACE, PACKET, PAYLOAD};

    fn datagram(interface: u32, packet: &[u8]) -> Vec<u8> {
        let attributes = Attributes::new()
            .number(IN_INTERFACE, interface)
            .bytes(PAYLOAD, packet);
        let length = u32::try_from(20 + attributes.as_bytes().len()).unwrap();
        let header = [length.to_ne_bytes(), u32::from(PACKET).to_ne_bytes()].concat();
        [&header[..], &[0; 8], &[2, 0, 0, 5], attributes.as_bytes()].concat()
    }

    fn udp(ipv6: bool, port: u16, payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        let builder = if ipv6 {
            PacketBuilder::ipv6([0x20; 16], [0xfd; 16], 64)
        } else {
            PacketBuilder::ipv4([192, 0, 2, 1], [198, 51, 100, 2], 64)
        };
        let builder = builder.udp(40_000, port);
        builder.write(&mut packet, payload).unwrap();
        packet
    }

    #[test]
    fn ports_and_interfaces_decide() {
        let named = [CapturedInterface::new("eth0".to_owned(), 7)];
        let missing = [CapturedInterface::new("eth0".to_owned(), 0)];
        for ipv6 in [false, true] {
            let [knock, hit] = [62201, 9000].map(|port| udp(ipv6, port, &[7; 200]));
            let mut found = Datagram::empty();
            let mut said = |index, packet: &[u8], interfaces: &[CapturedInterface]| {
                let caught = caught(&datagram(index, packet), interfaces, &[62201], &mut found);
                (caught, found.payload().to_vec())
            };
            for interfaces in [&named[..], &[]] {
                let found = said(7, &knock, interfaces);
                assert!(matches!(found, (Caught::Datagram, knock) if knock == [7; 200]));
                let found = said(7, &hit, interfaces);
                assert!(matches!(found, (Caught::Hit(hit), _) if hit.port == 9000));
            }
            assert!(matches!(said(8, &knock, &named), (Caught::Nothing, _)));
            assert!(matches!(said(0, &knock, &missing), (Caught::Nothing, _)));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            datagram in prop::collection::vec(any::<u8>(), 0..80),
            packet in prop::collection::vec(any::<u8>(), 0..80),
            cut in 0_usize..200,
        ) {
            let found = &mut Datagram::empty();
            let _ = caught(&datagram, &[], &[62201], found);
            let whole = super::tests::datagram(7, &packet);
            let _ = caught(whole.get(..cut).unwrap_or(&whole), &[], &[62201], found);
        }
    }
}
