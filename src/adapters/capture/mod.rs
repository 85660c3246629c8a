//! Sources of datagrams. Each takes a descriptor that the monitor opened, and needs no privilege.
//!
//! A source checks only that a packet is UDP to a knock port. The gate judges the rest.

use std::sync::Arc;

use crate::core::sequence::Hit;
use crate::model::datagram::Datagram;
use drops::Drops;
use line_counters::LineCounters;

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
pub mod recording;
pub mod udp;

/// What a source reports.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a box would allocate for every packet that fails authentication (invariant 2)"
)]
pub enum Caught {
    /// A datagram to a knock port.
    Datagram(Datagram),
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

/// A source of datagrams: `packet` (passive), `udp` (bound, never answering) or `nflog` (from the firewall's rules).
pub trait Capture: Send {
    /// Waits up to about a second for the next report.
    fn next(&mut self) -> std::io::Result<Caught>;

    /// Whether the next call may have to wait. While it is false, datagrams may be passed on together.
    fn waits(&self) -> bool {
        true
    }

    /// Whether it has taken packets from a socket that engines share, and not returned them yet.
    fn holds(&self) -> bool {
        false
    }

    /// The counter of datagrams that the kernel dropped on its socket, if it has a socket.
    fn drops(&self) -> Option<Drops> {
        None
    }

    /// What a log sensor counts, for one.
    fn lines(&self) -> Option<Arc<LineCounters>> {
        None
    }
}
