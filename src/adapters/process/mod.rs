//! The one place that runs programs.
//!
//! Two kinds, and what they have in common is that no shell is ever between: those of the daemon, which runs them as root, in
//! `watched`; and those that a user names for the client, which runs them as that user would, in `own`.

pub mod own;
#[cfg(feature = "daemon")]
mod watched;

#[cfg(feature = "daemon")]
pub use watched::{Programs, Wiring, find, start_again};
