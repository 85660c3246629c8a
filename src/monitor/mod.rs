//! The monitor: the privileged process. It prepares what needs privilege, starts the engine, and carries out its orders.
//!
//! Never parses a packet, makes no use of a key, and owns the closing of grants.

pub mod clearance;
pub mod desk;
