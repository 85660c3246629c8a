//! Takes many waiting packets from a socket in one call, so that the capture keeps up with a flood.
//!
//! It never waits, and allocates once for each thread. `benches/capture.rs` measures the cost of a packet.

use std::cell::RefCell;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg};

/// Packets in one call. A greater number does not reduce the cost of a packet.
const PACKETS_MAX: usize = 64;

thread_local! {
    // it contains pointers, so it stays with its thread
    static HEADERS: RefCell<MultiHeaders<()>> = RefCell::new(MultiHeaders::preallocate(PACKETS_MAX, None));
}

/// Packets, each cut to `LENGTH` bytes.
pub(super) struct Burst<const LENGTH: usize> {
    packets: Box<[[u8; LENGTH]; PACKETS_MAX]>,
    lengths: [usize; PACKETS_MAX],
    next: usize,
    count: usize,
}

impl<const LENGTH: usize> Burst<LENGTH> {
    pub(super) fn new() -> Self {
        Self {
            packets: Box::new([[0; LENGTH]; PACKETS_MAX]),
            lengths: [0; PACKETS_MAX],
            next: 0,
            count: 0,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.next >= self.count
    }

    /// Takes the waiting packets and returns their number.
    pub(super) fn fill(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        (self.next, self.count) = (0, 0);
        HEADERS.with_borrow_mut(|headers| {
            let packets = self.packets.each_mut();
            let mut buffers = packets.map(|packet| [IoSliceMut::new(packet)]);
            let (socket, buffers) = (socket.as_raw_fd(), buffers.iter_mut());
            let messages = recvmmsg(socket, headers, buffers, MsgFlags::MSG_DONTWAIT, None)?;
            for (message, length) in messages.zip(&mut self.lengths) {
                *length = message.bytes;
                self.count += 1;
            }
            Ok(self.count)
        })
    }

    pub(super) fn next(&mut self) -> Option<&[u8]> {
        let at = self.next;
        if at >= self.count {
            return None;
        }
        self.next += 1;
        self.packets.get(at)?.get(..*self.lengths.get(at)?)
    }
}
