//! Users of fwknop's clients who share a key: each states its `order`, so that the gate knows whom to ask first.

use std::collections::HashSet;

/// Who shares a key with whom.
#[derive(Default)]
pub(super) struct Sharing {
    groups: usize,
    turns: HashSet<(usize, u16)>,
}

impl Sharing {
    /// The number of a group that begins with this user.
    pub(super) fn begin(&mut self, order: Option<u16>) -> usize {
        self.groups += 1;
        self.turns.extend(order.map(|order| (self.groups, order)));
        self.groups
    }

    /// Takes a user into a group. False if another one there has the same order.
    pub(super) fn join(&mut self, group: usize, order: u16) -> bool {
        self.turns.insert((group, order))
    }
}
