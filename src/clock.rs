//! The one place that reads clocks; everywhere else a time is an argument.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::time::Timestamp;

/// The system's wall clock.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn wall() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(crate::time::millis(since_epoch))
}

/// A clock for measuring lengths of time.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn instant() -> Instant {
    Instant::now()
}

/// How long since `start`, as [`instant`] gave it.
pub fn elapsed(start: Instant) -> Duration {
    instant().duration_since(start)
}

/// A clock for ends of grants: the wall clock's time when it was made, moved on by the time that passed since, suspend
/// included. Setting the wall clock back does not keep a door open.
#[cfg(feature = "daemon")]
#[derive(Debug, Clone, Copy)]
pub struct Steady {
    start: Timestamp,
    boot: Duration,
}

#[cfg(feature = "daemon")]
impl Steady {
    /// Starts at the wall clock's time.
    #[expect(clippy::new_without_default, reason = "it reads clocks")]
    pub fn new() -> Self {
        Self { start: wall(), boot: since_boot() }
    }

    /// Its time.
    pub fn now(&self) -> Timestamp {
        self.start.plus(self.age())
    }

    /// How long since it was made.
    pub fn age(&self) -> Duration {
        since_boot().saturating_sub(self.boot)
    }
}

#[cfg(feature = "daemon")]
fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::try_from(time).unwrap_or_default()
}
