//! Limits the log lines per second and reason.

use crate::model::reason::Reason;
use crate::model::time::Timestamp;

/// The target of lines above the limit, at trace level: tests read them.
pub(super) const FLOOD: &str = "postern::flood";

#[derive(Debug)]
pub(super) struct Sampler {
    most: u32,
    second: u64,
    logged: [u32; Reason::COUNT],
}

impl Sampler {
    pub(super) fn new(most: u32) -> Self {
        Self {
            most,
            second: 0,
            logged: [0; Reason::COUNT],
        }
    }

    pub(crate) fn may_log(&mut self, now: Timestamp, reason: Reason) -> bool {
        let second = now.as_millis() / 1000;
        if second != self.second {
            self.second = second;
            self.logged = [0; Reason::COUNT];
        }
        let Some(said) = self.logged.get_mut(reason.index()) else {
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
    fn limit_is_per_reason_and_second() {
        let mut sampler = Sampler::new(3);
        let mut said = |millis, reason| {
            (0..10)
                .filter(|_| sampler.may_log(Timestamp::from_millis(millis), reason))
                .count()
        };
        assert_eq!(said(1000, Reason::Drop(Drop::Replay)), 3);
        assert_eq!(said(1999, Reason::Drop(Drop::Replay)), 0);
        assert_eq!(said(1999, Reason::Refuse(Rule::Quota)), 3);
        assert_eq!(said(2000, Reason::Drop(Drop::Replay)), 3);
    }
}
