//! Limits how often rules are put back: two programs must not fight for a chain.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::time::Timestamp;

const MOST: usize = 50;
const WITHIN: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Repairs {
    times: VecDeque<Timestamp>,
    paused_at: Option<Timestamp>,
}

impl Repairs {
    pub(super) fn is_paused(&self, now: Timestamp) -> bool {
        self.paused_at
            .is_some_and(|since| is_within(since, now, PAUSE))
    }

    /// Notes a repair; an error says why it must wait.
    pub(super) fn begin(&mut self, now: Timestamp) -> Result<(), String> {
        if self.is_paused(now) {
            return Err(waiting());
        }
        self.paused_at = None;
        self.times.retain(|time| is_within(*time, now, WITHIN));
        if self.times.len() >= MOST {
            self.times.clear();
            self.paused_at = Some(now);
            return Err(waiting());
        }
        self.times.push_back(now);
        Ok(())
    }
}

fn is_within(since: Timestamp, now: Timestamp, span: Duration) -> bool {
    since <= now && now.since(since) < span
}

fn waiting() -> String {
    format!(
        "somebody else removed Postern's rules from the host's chains {MOST} times in {} s; Postern puts them back every {} s only, until that ends",
        WITHIN.as_secs(),
        PAUSE.as_secs()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repairs_pause_when_others_fight() {
        let start = Timestamp::from_millis(1_000_000);
        let at = |millis| start.plus(Duration::from_millis(millis));
        let mut repairs = Repairs::default();
        for n in 0..50 {
            assert_eq!(repairs.begin(at(n)), Ok(()));
        }
        for millis in [50, 5_000, 10_049] {
            assert!(repairs.begin(at(millis)).is_err(), "{millis}");
        }
        assert_eq!(repairs.begin(at(10_051)), Ok(()));
        // slow changes of others are repaired without end
        for seconds in 20..200 {
            assert_eq!(repairs.begin(at(seconds * 1000)), Ok(()));
        }
    }
}
