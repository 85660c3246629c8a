//! A driver with rules in the host's own chains: they accept the packets that the driver has marked.
//!
//! In nf_tables an accept of one table does not override a drop of another. So each chain of the host that drops a granted
//! packet needs one rule of its own, `meta mark & MASK == VALUE accept`. It lets in nobody by itself: without Postern's
//! table no packet has the mark.

mod access;
mod driver;
mod iptables;
mod packets;
mod plan;
mod repairs;
mod self_test;

pub(crate) use access::{DriverAccess, HostAccess};
pub(crate) use driver::WithHostRules;
pub(crate) use iptables::line as iptables_line;
pub(crate) use plan::plan;
