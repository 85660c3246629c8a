//! What replay protection remembers: the marks of admitted knocks and two times (`proto/README.md`, section 6, steps 7 and 8).

use postern_proto::Mark;

use crate::model::fleet::ClosedGrant;
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

impl StoredTimes {
    pub(crate) fn latest(self, other: Self) -> Self {
        Self {
            floor: self.floor.max(other.floor),
            horizon: self.horizon.max(other.horizon),
        }
    }
}

/// A knock that was refused. It must not open after a restart either, when the policy may allow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRecord {
    pub user: String,
    pub record: MarkRecord,
}

/// What the gate remembers of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRecord {
    pub user: String,
    /// The gate admits no knock of this user made before this, because its mark may be forgotten.
    pub horizon: Timestamp,
    pub codes: UsedCodes,
}

/// Which one-time codes of a user count no more. Holds no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UsedCodes {
    /// The latest step whose code was used. No code of an earlier step counts.
    pub step: Option<u64>,
    /// Whether it was used for an IPv4 address.
    pub v4: bool,
    pub v6: bool,
    /// When all wrong codes are forgotten.
    pub clean: Timestamp,
}

/// A sequence that must never open again while its user exists: nothing in it is fresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRecord {
    pub user: String,
    pub mark: Mark,
    pub used: Timestamp,
}

/// What a store contained when it was opened, or what is added to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredMarks {
    pub times: StoredTimes,
    /// Marks of admitted knocks, in no order.
    pub marks: Vec<MarkRecord>,
    /// Marks of refused knocks, in no order.
    pub refused: Vec<RefusedRecord>,
    pub users: Vec<UserRecord>,
    /// Sequences that were used, in no order. They are never removed.
    pub runs: Vec<RunRecord>,
    /// Grants of the gates of this name that were closed, in no order.
    pub closed: Vec<ClosedGrant>,
    /// Those that ended before are forgotten. A gate that nobody knocks at has an older clock floor.
    pub closed_floor: Timestamp,
}
