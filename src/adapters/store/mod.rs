//! Storage that survives the engine: the marks of admitted knocks, the clock floor and the horizon.
//!
//! The gate decides which marks matter. See `proto/README.md`, section 6, steps 7, 8 and 11.

use crate::model::mark::{MarkRecord, StoredMarks, StoredTimes};

pub mod disk;
mod error;
pub mod memory;

pub use error::StoreError;
pub(crate) use error::StoreFault;

/// Stable storage for marks. `disk` (redb) and `memory` (tests) implement it.
pub trait ReplayStore: Send {
    /// Everything in the store. Called once, at start. If a part cannot be read, it is an error: an empty answer would admit
    /// replays.
    fn load(&mut self) -> Result<StoredMarks, StoreError>;

    /// Stores these marks and times, all or nothing, and removes every mark before the horizon. After `Ok` they survive a
    /// power cut; after an error none of the marks is stored.
    fn commit(&mut self, marks: &[MarkRecord], times: StoredTimes) -> Result<(), StoreError>;

    /// Writes the last commit a second time, so that damage to the newest part of the store cannot lose it. Called when no
    /// knock waits. After an error the last commit stays stored.
    fn settle(&mut self) -> Result<(), StoreError>;
}
