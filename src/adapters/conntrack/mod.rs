//! Connections in the kernel. Those that depend on a grant end with it, and older ones survive an installation.
//!
//! It changes conntrack entries and TCP sockets, but no firewall rule. A failure here neither opens a port nor keeps
//! one open.

use crate::model::grant::Grant;
use crate::model::service::Ports;

mod error;
mod grant_index;
pub mod kernel;
mod messages;

pub use error::ConntrackError;

/// What the monitor does with connections. `kernel` implements it, and tests do.
pub trait Conntrack: Send {
    /// Adds the host's TCP connections on these ports to the connection tracking table. Otherwise new
    /// protection rules treat them as new connections. Returns how many were not in the table.
    fn adopt(&mut self, protected: &[Ports]) -> Result<usize, ConntrackError>;

    /// Ends the connections that depend on ended grants, except those that a live grant covers. Reads the kernel's table
    /// once for all grants. Returns the number of connections.
    fn end(
        &mut self,
        ended: &[Grant],
        live: &mut dyn Iterator<Item = &Grant>,
    ) -> Result<usize, ConntrackError>;
}
