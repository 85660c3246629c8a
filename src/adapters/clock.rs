//! The one place that reads clocks; everywhere else a time is an argument.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[cfg(feature = "daemon")]
use crate::model::time::ClockStep;
use crate::model::time::Timestamp;

/// The system's wall clock.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn wall() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(crate::model::time::millis(since_epoch))
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

/// The wall clock was set if it is this far from where it should be. Less is a reading that was held up, or a correction that does
/// not matter for ends that are kept to the second.
#[cfg(feature = "daemon")]
const STEP: Duration = Duration::from_millis(250);

/// A clock for ends of grants: the wall clock's time when it was made, moved on by the time that passed since, suspend
/// included. Setting the wall clock back does not keep a door open: whoever follows it with [`Steady::follow`] learns by how much
/// it was set, and moves the ends along.
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
        Self {
            start: wall(),
            boot: since_boot(),
        }
    }

    /// Its time.
    pub fn now(&self) -> Timestamp {
        self.start.plus(self.age())
    }

    /// Shows the wall clock's time again where that was set: says by how much. What was dated by this clock is to be moved along.
    pub fn follow(&mut self) -> Option<ClockStep> {
        let step = ClockStep::between(self.now(), wall()).filter(|step| step.length() >= STEP)?;
        self.start = self.start.stepped(step);
        Some(step)
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

#[cfg(all(test, feature = "daemon"))]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_is_followed_once_and_one_that_was_not_never() {
        let mut clock = Steady::new();
        assert_eq!(clock.follow(), None);
        for hour in [
            ClockStep::Forward(Duration::from_secs(3600)),
            ClockStep::Back(Duration::from_secs(3600)),
        ] {
            let age = clock.age();
            // As if the wall clock had been set the other way.
            clock.start = clock.start.stepped(hour);
            let step = clock.follow().unwrap();
            assert_eq!(
                matches!(step, ClockStep::Back(_)),
                matches!(hour, ClockStep::Forward(_)),
                "{step}"
            );
            assert!(step.length().abs_diff(hour.length()) < STEP, "{step}");
            assert_eq!(clock.follow(), None);
            assert!(
                clock.age() >= age && clock.age() < Duration::from_secs(60),
                "its age is not a matter of the wall clock"
            );
        }
    }
}
