//! The command lines.

pub mod postern;
