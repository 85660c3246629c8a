//! What replay protection remembers: the marks of admitted knocks and two times (`proto/README.md`, section 6, steps 7 and 8).

use postern_proto::Mark;

use crate::model::time::Timestamp;

/// A mark and its times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkRecord {
    /// The first 16 bytes of the mac.
    pub mark: Mark,
    /// The timestamp in the knock.
    pub timestamp: Timestamp,
    pub admitted: Timestamp,
}

/// Two times that never move back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoredTimes {
    /// The clock floor: the gate takes no time as earlier than this.
    pub floor: Timestamp,
    /// The gate admits no knock made before this, because its mark may be forgotten.
    pub horizon: Timestamp,
}

/// What a store contained when it was opened.
#[derive(Debug, Clone, Default)]
pub struct StoredMarks {
    pub times: StoredTimes,
    /// Marks, in no order.
    pub marks: Vec<MarkRecord>,
}
