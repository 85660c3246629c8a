//! What the gate remembers and the store does not know yet: refused marks, users' horizons, used codes.

use std::collections::BTreeSet;

use crate::model::mark::{MarkRecord, RunRecord};

#[derive(Debug, Default)]
pub(super) struct Unsaved {
    pub(super) refused: Vec<(usize, MarkRecord)>,
    pub(super) users: BTreeSet<usize>,
    pub(super) runs: Vec<RunRecord>,
}

impl Unsaved {
    pub(super) fn refused(&mut self, user: usize, record: MarkRecord, is_user_changed: bool) {
        self.refused.push((user, record));
        if is_user_changed {
            self.user(user);
        }
    }

    pub(super) fn user(&mut self, user: usize) {
        self.users.insert(user);
    }
}
