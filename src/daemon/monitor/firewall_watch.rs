//! When the monitor next checks that the firewall still holds what it should.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use tracing::info;

use crate::adapters::clock;
use crate::adapters::files::LockWatch;
use crate::adapters::firewall::host;
use crate::adapters::netlink::RulesetEvents;
use crate::daemon::monitor::executor::Executor;
use crate::model::time::Timestamp;

/// The pause before the first check, and after one that costs next to nothing where the kernel does not tell of changes.
const PAUSE_MIN: Duration = Duration::from_millis(500);

/// The pause after a check that runs programs or reads all rules, or twice its time if that is longer.
pub(super) const EXPENSIVE_PAUSE: Duration = Duration::from_secs(1);

/// Between two checks after events; never less than the time of the last check.
const PAUSE_AFTER_EVENT: Duration = Duration::from_millis(1);

/// After a quiet time, checks that find nothing to repair may use this much time at once. If events go on, they may use
/// this part of the time, but a check comes at least every second.
const BURST: Duration = Duration::from_millis(100);
const SHARE: u32 = 200;

const EXPENSIVE: Duration = Duration::from_millis(2);

pub(super) struct FirewallWatch {
    checked: Instant,
    pause: Duration,
    took: Duration,
    /// The time that checks have used beyond their share.
    spent: Duration,
    /// `None` if the kernel has no nf_tables; then only the pauses count.
    events: Option<RulesetEvents>,
    /// The lock of legacy iptables, whose changes the kernel does not report.
    lock: Option<LockWatch>,
    is_changed: bool,
    has_repaired: bool,
}

impl FirewallWatch {
    pub(super) fn new() -> Self {
        Self {
            checked: clock::instant(),
            pause: PAUSE_MIN,
            took: Duration::ZERO,
            spent: Duration::ZERO,
            events: RulesetEvents::subscribe()
                .inspect_err(|error| {
                    info!("changes of the firewall are noticed only every half second: {error}")
                })
                .ok(),
            lock: host::watch_lock(),
            is_changed: false,
            has_repaired: false,
        }
    }

    pub(super) fn due_in(&self) -> Duration {
        let pause = if self.is_changed {
            let over = self.spent.saturating_sub(BURST).saturating_mul(SHARE);
            over.min(EXPENSIVE_PAUSE)
                .max(self.took)
                .max(PAUSE_AFTER_EVENT)
        } else {
            self.pause
        };
        pause.saturating_sub(clock::elapsed(self.checked))
    }

    /// They become readable when somebody changes the rules.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let events = self.events.as_ref().map(AsFd::as_fd);
        events
            .into_iter()
            .chain(self.lock.as_ref().map(AsFd::as_fd))
    }

    pub(super) fn take_events(&mut self) {
        if let Some(events) = &mut self.events {
            self.is_changed |= events.take_foreign();
        }
        self.is_changed |= self.lock.as_ref().is_some_and(LockWatch::take);
    }

    pub(super) fn check(&mut self, executor: &mut Executor, now: Timestamp) {
        let start = clock::instant();
        let earned = clock::elapsed(self.checked).checked_div(SHARE);
        let left = self.spent.saturating_sub(earned.unwrap_or_default());
        self.is_changed = false;
        let repairs = executor.repairs();
        executor.check_firewall(now);
        if self.lock.is_none() {
            self.lock = host::watch_lock();
        }
        self.checked = clock::instant();
        self.took = clock::elapsed(start);
        // A repair must not wait, nor the check after it, which the repair itself causes.
        let had_repaired = std::mem::replace(&mut self.has_repaired, executor.repairs() != repairs);
        let counted = Some(self.took).filter(|_| !self.has_repaired && !had_repaired);
        self.spent = left.saturating_add(counted.unwrap_or_default());
        self.pause = match self.took {
            took if took < EXPENSIVE && self.events.is_none() => PAUSE_MIN,
            took => took.saturating_mul(2).max(EXPENSIVE_PAUSE),
        };
    }
}
