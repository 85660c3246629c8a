//! The whole daemon under a list of events.

mod engine;
pub mod event;
mod record;
mod simulation;

pub use simulation::{Daemon, read, run};
