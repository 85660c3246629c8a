//! The command lines.

pub mod postern;
#[cfg(feature = "daemon")]
pub mod posternd;
mod usage;
