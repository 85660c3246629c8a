//! The command line of the client, `postern`.
//!
//! Defines what a command prints and how it ends. An error is one line on standard error.

mod arguments;
mod code;
mod connect;
mod enroll;
mod gate;
mod guarded;
pub(super) mod json;
mod keep;
mod keygen;
mod knock;
mod open_packet;
mod output;
mod plain;
mod plan;
mod profiles;
mod program;
mod report;
mod run;
mod words;

#[cfg(feature = "daemon")]
pub(crate) use program::run_as;
pub use program::{command, main};
