//! The command lines.

mod columns;
pub mod postern;
#[cfg(feature = "daemon")]
pub mod posternd;
mod usage;
