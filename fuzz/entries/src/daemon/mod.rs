//! The whole daemon under a list of events.

mod engine;
pub mod event;
mod simulation;

pub use simulation::{Daemon, read, run};
