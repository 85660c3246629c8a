//! When the monitor next checks that the firewall still holds what it should.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use tracing::info;

use crate::adapters::clock;
use crate::adapters::netlink::RulesetEvents;
use crate::daemon::monitor::executor::Executor;
use crate::model::time::Timestamp;

/// The pause before the first check, and after one that costs next to nothing.
const PAUSE_MIN: Duration = Duration::from_millis(500);

/// The pause after a check that runs programs or reads all rules, or twice its time if that is longer.
pub(super) const EXPENSIVE_PAUSE: Duration = Duration::from_secs(1);

/// Between two checks after events; never less than the time of the last check.
const PAUSE_AFTER_EVENT: Duration = Duration::from_millis(1);

const EXPENSIVE: Duration = Duration::from_millis(2);

pub(super) struct FirewallWatch {
    checked: Instant,
    pause: Duration,
    took: Duration,
    /// `None` if the kernel has no nf_tables; then only the pauses count.
    events: Option<RulesetEvents>,
    is_changed: bool,
}

impl FirewallWatch {
    pub(super) fn new() -> Self {
        Self {
            checked: clock::instant(),
            pause: PAUSE_MIN,
            took: Duration::ZERO,
            events: RulesetEvents::subscribe()
                .inspect_err(|error| {
                    info!("changes of the firewall are noticed only every half second: {error}")
                })
                .ok(),
            is_changed: false,
        }
    }

    pub(super) fn due_in(&self) -> Duration {
        let pause = if self.is_changed {
            self.took.max(PAUSE_AFTER_EVENT)
        } else {
            self.pause
        };
        pause.saturating_sub(clock::elapsed(self.checked))
    }

    /// Becomes readable when somebody changes the rules.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.events.as_ref().map(AsFd::as_fd)
    }

    pub(super) fn take_events(&mut self) {
        if let Some(events) = &mut self.events {
            self.is_changed |= events.take();
        }
    }

    pub(super) fn check(&mut self, executor: &mut Executor, now: Timestamp) {
        let start = clock::instant();
        self.is_changed = false;
        executor.check_firewall(now);
        self.checked = clock::instant();
        self.took = clock::elapsed(start);
        self.pause = match self.took {
            took if took < EXPENSIVE => PAUSE_MIN,
            took => took.saturating_mul(2).max(EXPENSIVE_PAUSE),
        };
    }
}
