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
