//! Packets that the firewall dropped, from a group of NFLOG.
//!
//! The monitor opens and binds the socket, because the kernel asks for `CAP_NET_ADMIN` at each command. The engine only
//! receives from it: strangers wrote the packets. The kernel copies no more than their headers.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::adapters::netlink::nflog;
use crate::model::attempt::Attempt;

mod packet;

/// The group that is tried first. Programs that log packets use small numbers.
const FIRST_GROUP: u16 = 62201;
const GROUPS_TRIED: u16 = 16;

/// As the rules say, too.
const COPIED: u32 = 64;

const BUFFER: usize = 16 * 1024;
/// The usual one of a socket. The rules send a few packets a second.
const RECEIVE_BUFFER: usize = 212_992;

/// Binds this group, or the next free one but `other`. The kernel refuses a group that another program has.
pub(crate) fn open(group: Option<u16>, other: Option<u16>) -> io::Result<(u16, OwnedFd)> {
    let tried = match group {
        Some(group) => group..=group,
        None => FIRST_GROUP..=FIRST_GROUP.saturating_add(GROUPS_TRIED),
    };
    let mut refused = io::Error::from(Errno::BUSY);
    for group in tried.filter(|group| Some(*group) != other) {
        match nflog::bind(group, COPIED, RECEIVE_BUFFER) {
            Ok(socket) => return Ok((group, socket)),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// The engine's side.
#[derive(Debug)]
pub(crate) struct AttemptReader {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl AttemptReader {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            buffer: vec![0; BUFFER],
        }
    }

    /// Waits for dropped packets, at most this long, and returns those of one datagram. What is not readable counts as
    /// none: nothing depends on it.
    ///
    /// # Errors
    /// If the socket is of no more use.
    pub(crate) fn next(&mut self, within: Duration) -> io::Result<Vec<Attempt>> {
        let wait = Timespec::try_from(within).unwrap_or_default();
        let mut ready = [PollFd::new(&self.socket, PollFlags::IN)];
        match poll(&mut ready, Some(&wait)) {
            Ok(0) | Err(Errno::INTR) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let received = recv(
            self.socket.as_fd(),
            self.buffer.as_mut_slice(),
            RecvFlags::DONTWAIT,
        );
        match received {
            Ok((length, _)) => Ok(read(self.buffer.get(..length).unwrap_or_default())),
            // The kernel had no room, or another engine was faster.
            Err(Errno::NOBUFS | Errno::AGAIN | Errno::INTR) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The attempts in what the kernel sent.
pub fn read(datagram: &[u8]) -> Vec<Attempt> {
    let packets = nflog::packets(datagram);
    packets
        .filter_map(|packet| packet::read(packet.bytes))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::netlink::attributes::Attributes;
    use crate::adapters::netlink::nflog::{PACKET, PAYLOAD};

    fn message(kind: u16, payload: &[u8]) -> Vec<u8> {
        let attributes = Attributes::new().number(10, 7).bytes(PAYLOAD, payload);
        let length = u32::try_from(20 + attributes.as_bytes().len()).unwrap();
        [
            &length.to_ne_bytes()[..],
            &kind.to_ne_bytes(),
            &[0; 10],
            &[2, 0, 0, 7],
            attributes.as_bytes(),
        ]
        .concat()
    }

    #[test]
    fn each_cut_datagram_is_read_safely() {
        let mut syn = vec![0x45, 0, 0, 44, 0, 0, 0x40, 0, 64, 6, 0, 0];
        syn.extend([192, 0, 2, 7, 192, 0, 2, 1, 0xc0, 0, 0, 22]);
        let whole = [
            message(PACKET, &syn),
            message(3, &syn),
            message(PACKET, &syn),
        ]
        .concat();
        let expected = Attempt {
            source: "192.0.2.7".parse().unwrap(),
            service: "tcp/22".parse().unwrap(),
        };
        assert_eq!(read(&whole), [expected, expected]);
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).len() < 2, "{length}");
        }
    }
}
