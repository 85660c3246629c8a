//! Sources of datagrams. Each takes a descriptor that the monitor opened, and needs no privilege.
//!
//! A source checks only that a packet is UDP to a knock port. The gate judges the rest.

use std::io;
use std::os::fd::BorrowedFd;
use std::thread::sleep;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::core::sequence::Hit;
use crate::model::datagram::Datagram;
use drops::Drops;

mod assembler;
mod burst;
pub(crate) mod drops;
pub mod filter;
pub mod frame;
pub mod hint_filter;
pub mod hit_filter;
pub mod hit_frame;
pub(crate) mod line_counters;
pub mod log;
pub mod nflog;
pub mod packet;
mod pause;
pub mod recording;
pub mod udp;

/// What a source reports.
#[derive(Debug)]
pub enum Caught {
    /// A datagram to a knock port. It is where the caller said.
    Datagram,
    /// A packet to a port of a sequence.
    Hit(Hit),
    /// Nothing came; ask again.
    Nothing,
    /// The interface is gone or down. The source keeps trying to bind again.
    Lost {
        /// Its name.
        interface: String,
        /// What the kernel said.
        why: String,
    },
    /// The interface is there again.
    Back {
        /// Its name.
        interface: String,
    },
}

/// The longest wait for a report, and the pause of a source that cannot listen.
const WAIT: Duration = Duration::from_secs(1);

/// A source of datagrams: `packet` (passive), `udp` (bound, never answering) or `nflog` (from the firewall's rules).
pub trait Capture: Send {
    /// Takes the next report; [`Caught::Nothing`] if none has come. Never waits. `datagram` has room for a datagram.
    fn take(&mut self, datagram: &mut Datagram) -> io::Result<Caught>;

    /// What becomes readable when a report has come. `None` while the source cannot listen: ask it again now and then.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;

    /// Whether the next call may have a report, because the last one left some.
    fn holds(&self) -> bool;

    /// The counter of datagrams that the kernel dropped on its socket.
    fn drops(&self) -> Option<Drops> {
        None
    }

    /// Waits up to about a second for the next report.
    fn next(&mut self, datagram: &mut Datagram) -> io::Result<Caught> {
        let caught = self.take(datagram)?;
        if self.holds() || !matches!(caught, Caught::Nothing) {
            return Ok(caught);
        }
        match self.descriptor() {
            Some(socket) => {
                let mut sockets = [PollFd::from_borrowed_fd(socket, PollFlags::IN)];
                match poll(&mut sockets, Timespec::try_from(WAIT).ok().as_ref()) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            None => sleep(WAIT),
        }
        self.take(datagram)
    }
}
