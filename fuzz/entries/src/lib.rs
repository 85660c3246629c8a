//! What each fuzz target does: one module a target, each with `run(&[u8])`, which panics on a find.
#![allow(
    missing_docs,
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

pub mod body;
pub mod config;
pub mod control;
pub mod daemon;
pub mod dropped;
pub mod enrol;
pub mod frame;
pub mod fwknop;
pub mod gate;
pub mod hostile_engine;
pub mod import;
pub mod knock;
pub mod log_line;
pub mod order;
pub mod packet;
pub mod publication;
pub mod recording;
pub mod roster;
pub mod second;
pub mod sequence;
pub mod stun;
