//! Read-only views of the gate, for `posternd status` and `posternd explain`. No packet comes here.

use postern_proto::{Hint, Mark};
use serde::{Deserialize, Serialize};

use super::judge::Gate;
use super::quota::QuotaLeft;
use super::replay;
use crate::model::counters::ReasonCounters;
use crate::model::mark::StoredTimes;
use crate::model::reason::Drop;
use crate::model::time::Timestamp;

/// What the gate remembers of a packet, also as the answer to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Seen {
    Admitted(Timestamp),
    Refused(Timestamp),
}

impl Seen {
    pub fn at(self) -> Timestamp {
        match self {
            Self::Admitted(at) | Self::Refused(at) => at,
        }
    }

    /// The reason to drop the same packet at a later time.
    pub(crate) fn reason_to_drop(self, now: Timestamp) -> Drop {
        replay::again(self.at(), now)
    }
}

impl Gate {
    /// Whether a packet with this mark was admitted or refused, and when. The gate forgets marks that its window no
    /// longer needs.
    pub fn seen(&self, mark: &Mark) -> Option<Seen> {
        let admitted = self.replay.admitted(mark).map(Seen::Admitted);
        admitted.or_else(|| self.replay.refused(mark).map(Seen::Refused))
    }

    /// The gate's clock: never earlier than its floor.
    pub fn clock(&self, system: Timestamp) -> Timestamp {
        self.replay.clock(system)
    }

    /// The clock floor, and the horizon: no knock made before the horizon is admitted.
    pub fn times(&self) -> StoredTimes {
        self.replay.times()
    }

    /// The key rows with this hint: present keys in the order of the users, then old keys in the order they were given.
    pub(crate) fn rows_with_hint(&self, hint: Hint) -> impl Iterator<Item = usize> + '_ {
        self.hints.find(hint).map(|(row, _)| row)
    }

    /// At most `most` of the quotas that are partly used, those with the least left first, and the number of others.
    pub fn quotas_left(&self, now: Timestamp, most: usize) -> (Vec<QuotaLeft>, usize) {
        let mut all: Vec<QuotaLeft> = self.users.quotas_left(self.replay.clock(now)).collect();
        all.sort_by(|one, other| (one.left, &one.user).cmp(&(other.left, &other.user)));
        let more = all.len().saturating_sub(most);
        all.truncate(most);
        (all, more)
    }

    pub fn counters(&self) -> &ReasonCounters {
        &self.counters
    }

    pub fn marks(&self) -> usize {
        self.replay.len()
    }

    pub fn hint_rows(&self) -> usize {
        self.hints.rows()
    }

    pub fn users(&self) -> usize {
        self.users.len()
    }
}
