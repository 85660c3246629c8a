//! Storage that survives the engine: the marks of admitted knocks, the clock floor and the horizon.
//!
//! The gate decides which marks matter. See `proto/README.md`, section 6, steps 7, 8 and 11.

use crate::model::mark::{Kept, MarkRecord, StoredTimes};

pub mod disk;
mod error;
pub mod memory;

pub use error::{StoreError, StoreFault};

/// Stable storage for marks. `disk` (redb) and `memory` (tests) implement it.
pub trait ReplayStore: Send {
    /// Everything in the store. Called once, at start.
    ///
    /// # Errors
    /// If a part cannot be read: an empty answer would admit replays.
    fn load(&mut self) -> Result<Kept, StoreError>;

    /// Stores these marks and times, all or nothing, and removes every mark before the horizon. After `Ok` they survive a
    /// power cut.
    ///
    /// # Errors
    /// None of the marks is stored then.
    fn commit(&mut self, marks: &[MarkRecord], times: StoredTimes) -> Result<(), StoreError>;

    /// Writes the last commit a second time, so that damage to the newest part of the store cannot lose it. Called when no
    /// knock waits.
    ///
    /// # Errors
    /// As [`ReplayStore::commit`]. The last commit stays stored.
    fn settle(&mut self) -> Result<(), StoreError>;
}
