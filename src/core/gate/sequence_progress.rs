//! How far a source is with which sequences, for an explanation. Decides nothing.

use std::net::IpAddr;

use postern_sequence::step_at;

use super::judge::Gate;
use super::sequences::SequenceKind;
use crate::core::sequence::{Expected, Hit, Progress};
use crate::model::time::Timestamp;

/// How many steps before and after now are searched for a keyed sequence: an hour each.
const STEPS: u64 = 57;

/// An attempt in progress, and whose sequences it can become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceProgress {
    pub at: Progress,
    /// Some of the users, each with how many hits the sequence has.
    pub users: Vec<(String, usize)>,
}

impl Gate {
    /// Whether a packet to this port is looked at.
    pub fn watches(&self, hit: &Hit) -> bool {
        let machine = self.sequences.machine();
        machine.is_some_and(|machine| machine.is_watched(hit))
    }

    /// How far a source is; `None` if it has no attempt in progress.
    pub fn sequence_progress(&self, source: IpAddr) -> Option<SequenceProgress> {
        let at = self.sequences.machine()?.progress(source)?;
        let name = |(id, hits): &(_, usize)| {
            let user = self.sequences.owner(*id)?;
            Some((self.users.member(user)?.policy.user.to_string(), *hits))
        };
        let mut users: Vec<_> = at.sequences.iter().filter_map(name).collect();
        // An encrypted sequence is there twice.
        users.dedup();
        Some(SequenceProgress { at, users })
    }

    /// The user whose keyed sequence of another time these hits end with, and when that time begins.
    pub fn keyed_at_another_time(
        &self,
        now: Timestamp,
        hits: &[Expected],
    ) -> Option<(&str, Timestamp)> {
        let step = step_at(now.as_millis() / 1000);
        let steps = step.saturating_sub(STEPS)..=step.saturating_add(STEPS);
        let users = self.sequences.users().iter();
        users.into_iter().find_map(|user| {
            let SequenceKind::Keyed { shape, .. } = &user.kind else {
                return None;
            };
            let last = hits.get(hits.len().checked_sub(shape.hits())?..)?;
            let is_it = |step: &u64| {
                let sequence = user.kind.of_step(*step);
                sequence.is_some_and(|sequence| sequence.hits() == last)
            };
            let found = steps.clone().find(is_it)?;
            let began = found.saturating_mul(postern_sequence::STEP_S * 1000);
            let policy = &self.users.member(user.user)?.policy;
            Some((policy.user.as_str(), Timestamp::from_millis(began)))
        })
    }
}
