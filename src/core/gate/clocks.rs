//! Finds users whose clock is off by more than the window. Says so at most once an hour for each.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::time::Timestamp;

const AGAIN_AFTER: Duration = Duration::from_secs(3600);

/// A user's knock was authentic, but made too long before or after it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockWarning {
    pub user: String,
    /// When it came, by the gate's clock.
    pub came: Timestamp,
    /// When it was made, by the client's.
    pub made: Timestamp,
}

#[derive(Debug, Default)]
pub(super) struct Clocks {
    /// By the user's number.
    users: BTreeMap<usize, UserClock>,
    /// What was made before an earlier run ended may be a replay.
    start: Timestamp,
    warning: Option<ClockWarning>,
}

#[derive(Debug, Default)]
struct UserClock {
    /// The latest time at which a knock in the window was made. What was made before may be a replay.
    latest: Timestamp,
    warned: Option<Timestamp>,
}

impl Clocks {
    /// For a gate whose last admission in an earlier run was at this time.
    pub(super) fn after(floor: Timestamp) -> Self {
        Self {
            start: floor,
            ..Self::default()
        }
    }

    /// Notes when an authentic knock of a user was made, and when it came.
    pub(super) fn note(
        &mut self,
        number: usize,
        user: &str,
        came: Timestamp,
        made: Timestamp,
        window: Duration,
    ) {
        if came.since(made).max(made.since(came)) > window {
            self.off(number, user, came, made);
        } else {
            self.right(number, made);
        }
    }

    /// A knock was made within the window.
    fn right(&mut self, number: usize, made: Timestamp) {
        let known = self.users.entry(number).or_default();
        known.latest = known.latest.max(made);
    }

    /// A knock was made outside the window.
    fn off(&mut self, number: usize, user: &str, came: Timestamp, made: Timestamp) {
        let known = self.users.entry(number).or_default();
        let is_early = |warned: Timestamp| came >= warned && came.since(warned) < AGAIN_AFTER;
        if made <= known.latest.max(self.start) || known.warned.is_some_and(is_early) {
            return;
        }
        known.warned = Some(came);
        let user = user.to_owned();
        self.warning = Some(ClockWarning { user, came, made });
    }

    pub(super) fn take(&mut self) -> Option<ClockWarning> {
        self.warning.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn wrong_clock_is_told_once_an_hour() {
        let mut clocks = Clocks::default();
        let mut told = |came, made| {
            clocks.off(7, "alice", at(came), at(made));
            clocks.take().map(|warning| warning.made)
        };
        assert_eq!(told(10_000, 9_950), Some(at(9_950)));
        assert_eq!(told(13_599, 13_549), None);
        assert_eq!(told(13_600, 13_680), Some(at(13_680)));
        clocks.off(8, "bob", at(13_600), at(13_500));
        assert!(clocks.take().is_some(), "another user");
    }

    #[test]
    fn replayed_knock_is_no_wrong_clock() {
        let mut clocks = Clocks::default();
        clocks.right(7, at(10_000));
        clocks.off(7, "alice", at(10_090), at(10_000));
        assert_eq!(clocks.take(), None);
        clocks.off(7, "alice", at(10_090), at(10_001));
        assert!(clocks.take().is_some());
        let mut clocks = Clocks::after(at(10_000));
        clocks.off(7, "alice", at(10_090), at(10_000));
        assert_eq!(clocks.take(), None, "of an earlier run");
    }
}
