//! The command lines.

mod columns;
mod deferred;
pub mod postern;
#[cfg(feature = "daemon")]
pub mod posternd;
mod usage;
