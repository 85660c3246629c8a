//! The marks of admitted knocks and the two times that guard them: what replay protection remembers.
//!
//! Plain values that pass between the gate, which decides, and the store, which keeps. PROTOCOL section 6, steps 7 and 8.

use postern_proto::Mark;

use crate::model::time::Timestamp;

/// A mark and what the window needs to know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkRecord {
    /// The first 16 bytes of the mac.
    pub mark: Mark,
    /// The knock's own timestamp.
    pub timestamp: Timestamp,
    /// The gate's clock when it was admitted.
    pub admitted: Timestamp,
}

/// The two times that only ever move forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoredTimes {
    /// The gate's clock never counts as earlier than this.
    pub floor: Timestamp,
    /// No knock made before this is ever admitted again, for its mark may be forgotten.
    pub horizon: Timestamp,
}

/// What a store held when it was opened.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// The times.
    pub times: StoredTimes,
    /// Marks, in no order.
    pub marks: Vec<MarkRecord>,
}
