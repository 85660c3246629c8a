//! Stories of knocks, from the client's request to the firewall and back to closed, under a virtual clock.
//!
//! Everything but the sockets, the threads and the kernel is the real thing: `world.rs` says which.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod admit;
mod clocks;
mod closing;
mod codes;
mod dropped;
mod explained;
mod failing;
mod forge;
mod hints;
mod knocks;
mod limits;
mod log;
mod malformed;
mod onpath;
mod reasons;
mod refused;
mod restart;
mod rotated;
mod sharing;
mod world;
