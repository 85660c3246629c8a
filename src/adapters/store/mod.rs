//! What must outlive the engine: the marks of admitted knocks, the clock floor and the horizon.
//!
//! A store only keeps; which marks matter is the replay window's to say (gate). PROTOCOL section 6, steps 7, 8 and 11.

use crate::model::mark::{Kept, MarkRecord, StoredTimes};

pub mod disk;
pub mod memory;

/// Why the store can't be used: the file, what is wrong and the way out, in one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub String);

/// Stable storage for marks. `disk` (redb) and `memory` (tests) implement it.
pub trait ReplayStore: Send {
    /// All that is kept, once, at start.
    ///
    /// # Errors
    /// When anything of it can't be read: an empty answer would admit replays.
    fn load(&mut self) -> Result<Kept, StoreError>;

    /// Puts these marks and the times on stable storage, all or nothing, and forgets every mark with a timestamp before
    /// the horizon. When it returns `Ok`, a power cut does not undo it.
    ///
    /// # Errors
    /// None of the marks may be counted as kept.
    fn commit(&mut self, marks: &[MarkRecord], times: StoredTimes) -> Result<(), StoreError>;

    /// Puts what was last committed beyond damage to the newest part of the store, too. For the time after a commit when
    /// nobody waits for the next one, which would do the same.
    ///
    /// # Errors
    /// As [`ReplayStore::commit`]; what was committed stays so.
    fn settle(&mut self) -> Result<(), StoreError>;
}
