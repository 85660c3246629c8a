//! How many datagrams the kernel dropped on a socket, because nobody read them in time. A look costs no packet anything.
//!
//! Asks for SO_MEMINFO, which packet and UDP sockets both have and which, unlike PACKET_STATISTICS, no look resets.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::socket::GetSockOpt;
use nix::{getsockopt_impl, libc, sockopt_impl};

/// Numbers in the answer, and the place of the one that is asked for (linux/sock_diag.h, SK_MEMINFO_VARS and SK_MEMINFO_DROPS).
const NUMBERS: usize = 9;
const DROPPED: usize = 8;

sockopt_impl!(
    /// The socket's memory and what it lost.
    MemoryInfo,
    GetOnly,
    libc::SOL_SOCKET,
    libc::SO_MEMINFO,
    [u32; NUMBERS]
);

/// A second descriptor of a capture's socket, and the count so far.
#[derive(Debug)]
pub struct Drops {
    socket: OwnedFd,
    /// The kernel counts in 32 bits.
    last: u32,
    total: u64,
}

impl Drops {
    /// Of this socket, since it was opened.
    ///
    /// # Errors
    /// What the system said.
    pub fn of(socket: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self {
            socket: socket.try_clone_to_owned()?,
            last: 0,
            total: 0,
        })
    }

    /// How many there are now; `None` where the kernel does not tell.
    pub fn count(&mut self) -> Option<u64> {
        let now = *MemoryInfo.get(&self.socket.as_fd()).ok()?.get(DROPPED)?;
        self.total = self
            .total
            .saturating_add(u64::from(now.wrapping_sub(self.last)));
        self.last = now;
        Some(self.total)
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn what_finds_no_room_is_counted_and_a_look_does_not_reset_the_count() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut drops = Drops::of(socket.as_fd()).unwrap();
        assert_eq!(drops.count(), Some(0));
        let to = socket.local_addr().unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sent = 20_000;
        for _ in 0..sent {
            sender.send_to(&[7; 100], to).unwrap();
        }
        socket.set_nonblocking(true).unwrap();
        let received = std::iter::from_fn(|| socket.recv(&mut [0; 200]).ok()).count() as u64;
        assert!(received < sent, "the socket has room for all of them");
        assert_eq!(
            (drops.count(), drops.count()),
            (Some(sent - received), Some(sent - received))
        );
    }
}
