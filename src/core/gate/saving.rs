//! Passes what the gate remembers to the store.

use super::judge::Gate;
use crate::model::mark::{MarkRecord, RefusedRecord, StoredMarks, UserRecord};

/// Above this, marks that the gate has forgotten since are removed.
const TIDY_AT: usize = 1024;

impl Gate {
    pub fn has_unsaved(&self) -> bool {
        !self.unsaved.refused.is_empty()
            || !self.unsaved.users.is_empty()
            || !self.unsaved.runs.is_empty()
    }

    /// What the store must learn, and the clock times.
    pub fn take_unsaved(&mut self) -> StoredMarks {
        self.tidy();
        let taken = std::mem::take(&mut self.unsaved);
        let name = |user: usize| Some(self.users.member(user)?.policy.user.to_string());
        let refused = taken.refused.into_iter().filter_map(|(user, record)| {
            let user = name(user)?;
            Some(RefusedRecord { user, record })
        });
        let refused = refused.collect();
        let users = taken.users.into_iter().filter_map(|number| {
            let member = self.users.member(number)?;
            Some(UserRecord {
                user: member.policy.user.to_string(),
                horizon: self.replay.horizon_of(number),
                codes: member.codes.map(|codes| codes.used()).unwrap_or_default(),
            })
        });
        StoredMarks {
            times: self.replay.times(),
            marks: Vec::new(),
            refused,
            users: users.collect(),
            runs: taken.runs,
            closed: Vec::new(),
            closed_floor: Default::default(),
        }
    }

    /// Keeps the list short if the store hangs.
    pub(super) fn tidy(&mut self) {
        let replay = &self.replay;
        let is_known = |(_, record): &(usize, MarkRecord)| replay.refused(&record.mark).is_some();
        self.unsaved.refused.retain(is_known);
    }

    pub(super) fn tidy_if_long(&mut self) {
        if self.unsaved.refused.len() > TIDY_AT {
            self.tidy();
        }
    }
}
