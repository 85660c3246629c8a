//! The one place that runs programs, never through a shell.
//!
//! `programs` runs the programs of the daemon, as root. `user_command` runs programs that a user names for the client.

#[cfg(feature = "daemon")]
mod child_io;
#[cfg(feature = "daemon")]
mod programs;
pub(crate) mod user_command;

#[cfg(feature = "daemon")]
pub use programs::Programs;
#[cfg(feature = "daemon")]
pub(crate) use programs::{StartOptions, end, find, start_program, start_self};
