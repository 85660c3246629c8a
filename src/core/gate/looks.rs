//! What the gate tells of itself to an administrator who asks. Changes nothing, and no packet's way leads here.

use postern_proto::Mark;

use super::{Gate, Spent};
use crate::model::mark::StoredTimes;
use crate::model::time::Timestamp;

/// What the gate remembers of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It was admitted at this time.
    Admitted(Timestamp),
    /// Policy or quota refused it at this time.
    Refused(Timestamp),
}

impl Seen {
    /// When that was.
    pub fn at(self) -> Timestamp {
        match self {
            Self::Admitted(at) | Self::Refused(at) => at,
        }
    }
}

impl Gate {
    /// Whether a packet with this mark was admitted or refused, and when. Marks that the window no longer needs are forgotten.
    pub fn seen(&self, mark: &Mark) -> Option<Seen> {
        let admitted = self.replay.admitted(mark).map(Seen::Admitted);
        admitted.or_else(|| self.replay.refused(mark).map(Seen::Refused))
    }

    /// The floor of the gate's clock, and the horizon before which no knock is admitted.
    pub fn times(&self) -> StoredTimes {
        self.replay.times()
    }

    /// The quotas that are not whole, those with the least left first, at most so many; and how many more there are.
    pub fn spent(&self, now: Timestamp, most: usize) -> (Vec<Spent>, usize) {
        let mut all: Vec<Spent> = self.users.spent(self.replay.clock(now)).collect();
        all.sort_by(|one, other| (one.left, &one.user).cmp(&(other.left, &other.user)));
        let more = all.len().saturating_sub(most);
        all.truncate(most);
        (all, more)
    }
}
