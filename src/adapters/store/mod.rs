//! Storage that survives the engine: marks, the clock floor, the horizon, and what is known of users.
//!
//! The gate decides which marks matter. See `proto/README.md`, section 6, steps 7, 8 and 11.

use crate::model::mark::{MarkRecord, StoredMarks, StoredTimes};

pub mod disk;
mod error;
pub mod memory;

pub use error::StoreError;
pub(crate) use error::StoreFault;

/// Stable storage for marks. `disk` (a log) and `memory` (tests) implement it.
pub trait ReplayStore: Send {
    /// Everything in the store. Called once, at start. If a part cannot be read, it is an error: an empty answer would admit
    /// replays.
    fn load(&mut self) -> Result<StoredMarks, StoreError>;

    /// Adds these marks, users and times, all or nothing, and removes every mark before the horizon. After `Ok` they survive a
    /// power cut; after an error none is stored.
    fn write(&mut self, change: &StoredMarks) -> Result<(), StoreError>;

    /// Adds marks of admitted knocks alone.
    fn commit(&mut self, marks: &[MarkRecord], times: StoredTimes) -> Result<(), StoreError> {
        self.write(&StoredMarks {
            times,
            marks: marks.to_vec(),
            ..StoredMarks::default()
        })
    }

    /// Writes down that the last commit is there, so that damage to it cannot stay unnoticed. Called when no knock waits. After
    /// an error the last commit stays stored.
    fn settle(&mut self) -> Result<(), StoreError>;
}
