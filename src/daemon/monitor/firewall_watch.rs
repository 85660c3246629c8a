//! When the monitor next checks that the firewall still holds what it should.

use std::time::{Duration, Instant};

use crate::adapters::clock;
use crate::daemon::monitor::executor::Executor;
use crate::model::time::Timestamp;

/// The pause before the first check, and after one that costs next to nothing.
const PAUSE_MIN: Duration = Duration::from_millis(500);

/// The pause after a check that runs programs or reads all rules, or twice its time if that is longer.
pub(super) const EXPENSIVE_PAUSE: Duration = Duration::from_secs(1);

const EXPENSIVE: Duration = Duration::from_millis(2);

pub(super) struct FirewallWatch {
    checked: Instant,
    pause: Duration,
}

impl FirewallWatch {
    pub(super) fn new() -> Self {
        Self {
            checked: clock::instant(),
            pause: PAUSE_MIN,
        }
    }

    pub(super) fn due_in(&self) -> Duration {
        self.pause.saturating_sub(clock::elapsed(self.checked))
    }

    pub(super) fn check(&mut self, executor: &mut Executor, now: Timestamp) {
        let start = clock::instant();
        executor.check_firewall(now);
        self.checked = clock::instant();
        self.pause = match clock::elapsed(start) {
            took if took < EXPENSIVE => PAUSE_MIN,
            took => took.saturating_mul(2).max(EXPENSIVE_PAUSE),
        };
    }
}
