//! Whether the daemon does what it is there for. Plain values: what happens and the time go in.
//!
//! A loop that turns is not enough: knocks must be heard, too. So an engine is asked again and again, and systemd's watchdog is
//! fed only while one answers, or while there is hope that the monitor by itself brings one up again.

use std::time::Duration;

use crate::daemon::monitor::serve::READY_WITHIN;
use crate::model::time::Timestamp;

/// The engine is asked so often, or more often where the watchdog is impatient.
const BEAT: Duration = Duration::from_secs(5);

/// Beats in a watchdog's time, so that one may come late.
const BEATS: u32 = 4;

/// How it goes.
#[derive(Debug)]
pub(super) struct Health {
    beat: Duration,
    next: Timestamp,
    /// Since when no engine serves.
    deaf_since: Option<Timestamp>,
    /// The config can't be used as it is: starting everything anew would not help, and what is open must be closed in time.
    pub(super) is_held_up: bool,
}

impl Health {
    pub(super) fn new(watchdog: Option<Duration>, now: Timestamp) -> Self {
        let beat = watchdog.map_or(BEAT, |within| BEAT.min(within / BEATS));
        Self {
            beat,
            next: now,
            deaf_since: Some(now),
            is_held_up: false,
        }
    }

    /// The longest pause between two looks.
    pub(super) fn beat(&self) -> Duration {
        self.beat
    }

    /// Notes whether an engine serves. Returns whether it is time to ask it, and to tell of it: at once where that is new.
    pub(super) fn look(&mut self, now: Timestamp, serves: bool) -> bool {
        let is_due = now >= self.next || serves == self.deaf_since.is_some();
        if serves {
            (self.deaf_since, self.is_held_up) = (None, false);
        } else {
            self.deaf_since.get_or_insert(now);
        }
        if is_due {
            self.next = now.plus(self.beat);
        }
        is_due
    }

    /// Whether there is no need to start everything anew.
    pub(super) fn is_well(&self, now: Timestamp) -> bool {
        self.is_held_up
            || self
                .deaf_since
                .is_none_or(|since| now.since(since) <= READY_WITHIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_760_000_000_000);

    fn after(seconds: u64) -> Timestamp {
        START.plus(Duration::from_secs(seconds))
    }

    #[test]
    fn beats_are_quarters_of_the_watchdogs_time_and_never_far_apart() {
        for (watchdog, beat) in [
            (None, 5000),
            (Some(60_000), 5000),
            (Some(8000), 2000),
            (Some(400), 100),
        ] {
            assert_eq!(
                Health::new(watchdog.map(Duration::from_millis), START).beat(),
                Duration::from_millis(beat)
            );
        }
    }

    #[test]
    fn one_beat_comes_due_however_long_nobody_looked() {
        let mut health = Health::new(None, START);
        let due: Vec<u64> = (0..12)
            .chain([500, 501, 505])
            .filter(|at| health.look(after(*at), true))
            .collect();
        assert_eq!(due, [0, 5, 10, 500, 505]);
    }

    #[test]
    fn an_engine_that_begins_to_serve_or_is_gone_is_told_of_at_once() {
        let mut health = Health::new(None, START);
        let serves = [
            (0, false),
            (1, false),
            (2, true),
            (3, true),
            (4, false),
            (5, false),
            (9, false),
        ];
        let due: Vec<u64> = serves
            .into_iter()
            .filter(|(at, serves)| health.look(after(*at), *serves))
            .map(|(at, _)| at)
            .collect();
        assert_eq!(due, [0, 2, 4, 9]);
    }

    #[test]
    fn without_an_engine_all_is_well_only_for_as_long_as_one_may_take_to_start() {
        let mut health = Health::new(None, START);
        health.look(after(1000), true);
        assert!(health.is_well(after(1000)));
        health.look(after(1001), false);
        health.look(after(1100), false);
        assert!(health.is_well(after(1001 + READY_WITHIN.as_secs())));
        assert!(
            !health.is_well(after(1002 + READY_WITHIN.as_secs())),
            "so long that systemd had better start it anew"
        );
        health.look(after(2000), true);
        assert!(health.is_well(after(2000)));
    }

    #[test]
    fn a_config_that_cannot_be_used_is_no_reason_to_start_everything_anew() {
        let mut health = Health::new(None, START);
        health.look(after(1), false);
        health.is_held_up = true;
        assert!(health.is_well(after(100_000)));
        health.look(after(100_001), true);
        health.look(after(100_002), false);
        assert!(
            !health.is_well(after(200_000)),
            "that is over once an engine has served"
        );
    }
}
