//! Whether the daemon receives knocks, for systemd's watchdog. Pure: events and the time go in.
//!
//! The watchdog is notified only while an engine answers, or while the monitor may still start one by itself.

use std::time::Duration;

use crate::daemon::monitor::supervisor::engine_process::READY_WITHIN;
use crate::model::time::Timestamp;

/// The pause between two questions to the engine, shorter if the watchdog's time is short.
const BEAT: Duration = Duration::from_secs(5);

const BEATS: u32 = 4;

#[derive(Debug)]
pub(super) struct Health {
    beat: Duration,
    next: Timestamp,
    down_since: Option<Timestamp>,
}

impl Health {
    pub(super) fn new(watchdog: Option<Duration>, now: Timestamp) -> Self {
        Self {
            beat: watchdog.map_or(BEAT, |within| BEAT.min(within / BEATS)),
            next: now,
            down_since: Some(now),
        }
    }

    pub(super) fn beat(&self) -> Duration {
        self.beat
    }

    /// Notes whether an engine serves. Returns whether a beat is due; a change is due at once.
    pub(super) fn is_due(&mut self, now: Timestamp, serves: bool) -> bool {
        let is_due = now >= self.next || serves == self.down_since.is_some();
        if serves {
            self.down_since = None;
        } else {
            self.down_since.get_or_insert(now);
        }
        if is_due {
            self.next = now.plus(self.beat);
        }
        is_due
    }

    pub(super) fn is_well(&self, now: Timestamp) -> bool {
        self.down_since
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
    fn beat_is_a_quarter_of_the_watchdog() {
        for (watchdog, beat) in [
            (None, 5000),
            (Some(60_000), 5000),
            (Some(8000), 2000),
            (Some(400), 100),
        ] {
            let health = Health::new(watchdog.map(Duration::from_millis), START);
            assert_eq!(health.beat(), Duration::from_millis(beat));
        }
    }

    #[test]
    fn beat_or_change_is_due() {
        let due = |events: &[(u64, bool)]| -> Vec<u64> {
            let mut health = Health::new(None, START);
            let due = |(at, serves): &&(u64, bool)| health.is_due(after(*at), *serves);
            events.iter().filter(due).map(|(at, _)| *at).collect()
        };
        let steady: Vec<_> = (0..12)
            .chain([500, 501, 505])
            .map(|at| (at, true))
            .collect();
        assert_eq!(due(&steady), [0, 5, 10, 500, 505]);
        let changes = [
            (0, false),
            (1, false),
            (2, true),
            (3, true),
            (4, false),
            (9, false),
        ];
        assert_eq!(due(&changes), [0, 2, 4, 9]);
    }

    #[test]
    fn outage_is_tolerated_while_an_engine_may_start() {
        let mut health = Health::new(None, START);
        for (at, serves, since, is_well) in [
            (1000, true, 0, true),
            (1001, false, READY_WITHIN.as_secs(), true),
            (1001, false, READY_WITHIN.as_secs() + 1, false),
            (2000, true, 0, true),
        ] {
            health.is_due(after(at), serves);
            assert_eq!(health.is_well(after(at + since)), is_well, "{at} + {since}");
        }
    }
}
