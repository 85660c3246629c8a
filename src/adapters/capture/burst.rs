//! Packets that wait on a socket already, taken many in one call: what makes the capture keep up with a flood.
//!
//! Never waits; whoever waits for the first packet of a burst does so elsewhere. Allocates once a thread.

use std::cell::RefCell;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg};

use super::filter::SNAP;

/// Packets in one call. With more the call itself costs no less a packet.
const MANY: usize = 64;
const LONGEST: usize = SNAP as usize;

thread_local! {
    // Pointers are in it, so it stays with its thread.
    static HEADERS: RefCell<MultiHeaders<()>> = RefCell::new(MultiHeaders::preallocate(MANY, None));
}

/// Room for one burst, and what is left of the last one.
pub(super) struct Burst {
    room: Box<[[u8; LONGEST]; MANY]>,
    lengths: [usize; MANY],
    next: usize,
    taken: usize,
}

impl Burst {
    pub(super) fn new() -> Self {
        Self {
            room: Box::new([[0; LONGEST]; MANY]),
            lengths: [0; MANY],
            next: 0,
            taken: 0,
        }
    }

    /// Whether all packets of it were looked at.
    pub(super) fn is_over(&self) -> bool {
        self.next >= self.taken
    }

    /// Whether it took all that it could, so that more may wait.
    pub(super) fn was_full(&self) -> bool {
        self.taken == MANY
    }

    /// Takes what waits on the socket, and says how many that were. Failures are left to whoever waits on it next, who meets them, too.
    pub(super) fn fill(&mut self, socket: BorrowedFd<'_>) -> usize {
        (self.next, self.taken) = (0, 0);
        HEADERS.with_borrow_mut(|headers| {
            let mut room = self.room.each_mut().map(|packet| [IoSliceMut::new(packet)]);
            let Ok(came) = recvmmsg(
                socket.as_raw_fd(),
                headers,
                room.iter_mut(),
                MsgFlags::MSG_DONTWAIT,
                None,
            ) else {
                return;
            };
            for (message, length) in came.zip(&mut self.lengths) {
                *length = message.bytes;
                self.taken += 1;
            }
        });
        self.taken
    }

    /// The next packet of the burst.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        let at = self.next;
        if at >= self.taken {
            return None;
        }
        self.next += 1;
        self.room.get(at)?.get(..*self.lengths.get(at)?)
    }
}
