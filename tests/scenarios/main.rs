//! Scenarios: knocks from the client's request to the firewall and back to closed, under a virtual clock.
//!
//! Everything but the sockets, the threads and the kernel is real: see `world.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod admitted;
mod behind_the_gate;
mod clocks;
mod closing;
mod cluster;
mod codes;
mod dropped;
mod explained;
mod fleet;
mod forge;
mod fwknop;
mod hints;
mod knocks;
mod log;
mod on_path;
mod reasons;
mod refused;
mod restart;
mod rotated;
mod world;
