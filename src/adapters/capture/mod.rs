//! Where datagrams come from. Every implementation takes a descriptor that the monitor opened and needs no privilege.
//!
//! Must not judge a datagram beyond "UDP, to a knock port"; that is the gate's.

use crate::model::datagram::Datagram;
use drops::Drops;

mod burst;
pub mod drops;
pub mod filter;
pub mod frame;
pub mod hint_filter;
pub mod memory;
pub mod packet;
pub mod recording;
pub mod udp;

/// What a capture has to tell.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a box would allocate for every packet of a stranger (invariant 2)"
)]
pub enum Caught {
    /// A datagram to a knock port.
    Datagram(Datagram),
    /// Nothing for a while; ask again.
    Nothing,
    /// The interface is gone or down; the capture keeps trying to bind again.
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

/// A source of datagrams. `packet` (passive), `udp` (bound, never answering) and `memory` (tests) are the three there are.
pub trait Capture: Send {
    /// Waits, at most about a second, for the next thing to tell.
    ///
    /// # Errors
    /// When this source will never tell anything again; the engine then stops with this error.
    fn next(&mut self) -> std::io::Result<Caught>;

    /// Whether the next call has to wait for what comes. Until it has, datagrams may be handed on together.
    fn waits(&self) -> bool {
        true
    }

    /// What counts the datagrams that the kernel dropped on its socket, where there is one.
    fn drops(&self) -> Option<Drops> {
        None
    }
}
