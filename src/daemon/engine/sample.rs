//! So many log lines a second for each reason, and no more, whoever sends what.

use crate::model::reason::Reason;
use crate::model::time::Timestamp;

/// Counts the lines of the present second.
#[derive(Debug)]
pub struct Sampler {
    most: u32,
    second: u64,
    said: [u32; Reason::COUNT],
}

impl Sampler {
    /// At most `most` lines a second and reason.
    pub fn new(most: u32) -> Self {
        Self {
            most,
            second: 0,
            said: [0; Reason::COUNT],
        }
    }

    /// Whether one more may be said now; if so, it is counted.
    pub fn may_say(&mut self, now: Timestamp, reason: Reason) -> bool {
        let second = now.as_millis() / 1000;
        if second != self.second {
            self.second = second;
            self.said = [0; Reason::COUNT];
        }
        let Some(said) = self.said.get_mut(reason.index()) else {
            return false;
        };
        *said = said.saturating_add(1);
        *said <= self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::reason::{Drop, Rule};

    #[test]
    fn each_reason_has_its_own_lines_and_each_second_new_ones() {
        let mut sampler = Sampler::new(3);
        let mut said = |millis, reason| {
            (0..10)
                .filter(|_| sampler.may_say(Timestamp::from_millis(millis), reason))
                .count()
        };
        assert_eq!(said(1000, Reason::Drop(Drop::Replay)), 3);
        assert_eq!(said(1999, Reason::Drop(Drop::Replay)), 0);
        assert_eq!(said(1999, Reason::Refuse(Rule::Quota)), 3);
        assert_eq!(said(2000, Reason::Drop(Drop::Replay)), 3);
    }
}
