//! The one place that reads clocks; everywhere else a time is an argument.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

#[cfg(feature = "daemon")]
use crate::model::time::ClockStep;
use crate::model::time::Timestamp;

/// The system's wall clock.
#[expect(clippy::disallowed_methods, reason = "clock may read clocks")]
pub fn wall() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(crate::model::time::millis(since_epoch))
}

/// A clock that measures durations.
#[expect(clippy::disallowed_methods, reason = "clock may read clocks")]
pub fn instant() -> Instant {
    Instant::now()
}

/// The clock that programs in the kernel read.
#[cfg(feature = "daemon")]
pub fn monotonic() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::try_from(now).unwrap_or_default()
}

/// The time since `start`, a value of [`instant`].
pub fn elapsed(start: Instant) -> Duration {
    instant().duration_since(start)
}

/// The wall clock was set if it differs by this much. A smaller difference is a delayed reading, or a correction that does
/// not matter for ends in whole seconds.
#[cfg(feature = "daemon")]
const STEP: Duration = Duration::from_millis(250);

/// A clock for the ends of grants: the wall clock's time at its start plus the time since then, suspend included. If the
/// wall clock is set back, no grant stays open longer: [`Steady::follow`] tells by how much it was set, and the caller moves the ends, too.
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

    /// The time on this clock.
    pub fn now(&self) -> Timestamp {
        self.start.plus(self.age())
    }

    /// Takes over the wall clock's time if that was set, and returns by how much. The caller moves all ends by the same amount.
    pub fn follow(&mut self) -> Option<ClockStep> {
        let step = ClockStep::between(self.now(), wall()).filter(|step| step.length() >= STEP)?;
        self.start = self.start.stepped(step);
        Some(step)
    }

    /// The time since its start.
    pub fn age(&self) -> Duration {
        since_boot().saturating_sub(self.boot)
    }
}

/// The time since the system started, suspend included.
pub(crate) fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::try_from(time).unwrap_or_default()
}

/// A descriptor that becomes readable when the wall clock is set, and after a suspend.
#[derive(Debug)]
pub(crate) struct ClockEvents(OwnedFd);

impl ClockEvents {
    pub(crate) fn subscribe() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Realtime, flags)?;
        // It never expires. The kernel cancels it if the clock makes a step.
        let never = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                tv_sec: i64::MAX,
                tv_nsec: 0,
            },
        };
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        timerfd_settime(&timer, flags, &never)?;
        Ok(Self(timer))
    }

    /// Takes what has happened.
    pub(crate) fn take(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for ClockEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
#[cfg(feature = "daemon")]
mod tests {
    use super::*;

    #[test]
    fn set_clock_is_followed_once() {
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
            let found = matches!(step, ClockStep::Back(_));
            assert_eq!(found, matches!(hour, ClockStep::Forward(_)), "{step}");
            assert!(step.length().abs_diff(hour.length()) < STEP, "{step}");
            assert_eq!(clock.follow(), None);
            assert!(
                clock.age() >= age && clock.age() < Duration::from_secs(60),
                "its age does not depend on the wall clock"
            );
        }
    }
}
