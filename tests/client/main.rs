//! Runs `postern` as a user does: checks its output, its exit status, and the packets that a fake gate receives.
//!
//! The fake gate opens packets with the protocol crate and shares no code with the client.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

mod connecting;
mod enrolling;
mod failing;
mod fwknop;
mod keys;
mod knocking;
mod options;
mod running;
mod setup;
