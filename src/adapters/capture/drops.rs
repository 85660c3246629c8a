//! Counts datagrams that the kernel dropped on a socket because its buffer was full.
//!
//! SO_MEMINFO works for packet and UDP sockets, and reading it does not reset it, unlike PACKET_STATISTICS.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::socket::GetSockOpt;
use nix::{getsockopt_impl, libc, sockopt_impl};

// linux/sock_diag.h: SK_MEMINFO_VARS and SK_MEMINFO_DROPS
const NUMBERS: usize = 9;
const DROPPED: usize = 8;

sockopt_impl!(
    MemoryInfo,
    GetOnly,
    libc::SOL_SOCKET,
    libc::SO_MEMINFO,
    [u32; NUMBERS]
);

#[derive(Debug)]
pub struct Drops {
    socket: OwnedFd,
    /// The kernel counts in 32 bits.
    last: u32,
    total: u64,
}

impl Drops {
    pub(crate) fn of(socket: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self {
            socket: socket.try_clone_to_owned()?,
            last: 0,
            total: 0,
        })
    }

    /// The count now; `None` if the kernel does not say.
    pub(crate) fn count(&mut self) -> Option<u64> {
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
    fn reading_drops_does_not_reset_them() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut drops = Drops::of(socket.as_fd()).unwrap();
        assert_eq!(drops.count(), Some(0));
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(socket.local_addr().unwrap()).unwrap();
        let sent = 20_000;
        for _ in 0..sent {
            sender.send(&[7; 100]).unwrap();
        }
        socket.set_nonblocking(true).unwrap();
        let received = std::iter::from_fn(|| socket.recv(&mut [0; 200]).ok()).count() as u64;
        assert!(received < sent, "the socket has room for all of them");
        let dropped = Some(sent - received);
        assert_eq!((drops.count(), drops.count()), (dropped, dropped));
    }
}
