//! Connections in the kernel: those that rest on a grant are ended with it, those older than the protection are taken over by it.
//!
//! Owns conntrack entries and TCP sockets over netlink; runs no program. Must not decide which grants ask for it, nor touch a
//! firewall rule. What fails here is reported, and neither opens a door nor keeps one open.

use crate::model::grant::Grant;
use crate::model::service::Ports;

mod doors;
pub mod kernel;
mod link;
pub mod memory;
mod wire;

pub use doors::Connection;

/// What could not be done, why, and what to do: one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConnectionsError(pub String);

/// What the monitor does with connections. `kernel` and `memory` (tests) implement it.
pub trait Conntrack: Send {
    /// Makes the TCP connections that the host has on these ports known to connection tracking, so that a protection that comes
    /// after does not take them for new ones. Those that are known already stay as they are. Returns how many were not.
    ///
    /// # Errors
    /// Some of them may not be known, and the protection may cut those.
    fn adopt(&mut self, protected: &[Ports]) -> Result<usize, ConnectionsError>;

    /// Ends the connections that rest on the grants that have ended, but not those that a live grant covers too. One look at the
    /// kernel's table for all of them. Returns how many there were.
    ///
    /// # Errors
    /// Some of them may live on.
    fn end(
        &mut self,
        ended: &[Grant],
        live: &mut dyn Iterator<Item = &Grant>,
    ) -> Result<usize, ConnectionsError>;
}
