//! Quotas: how many knocks of one user are admitted in a time. PROTOCOL section 6, step 10.
//!
//! governor does the counting, one cell a user, on the gate's own time. Only authenticated and allowed knocks come
//! here, so nobody without a key can use a quota up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota as Rate, RateLimiter};

use crate::policy::Quota;
use crate::time::Timestamp;

/// One user's quota and how much of it is used up.
#[derive(Debug)]
pub(super) struct Limiter(RateLimiter<NotKeyed, InMemoryState, GateClock, NoOpMiddleware<Nanos>>);

/// Tells governor the time that the gate was given.
#[derive(Debug, Clone, Default)]
pub(super) struct GateClock(Arc<AtomicU64>);

impl Clock for GateClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0.load(Ordering::Relaxed))
    }
}

impl GateClock {
    pub(super) fn set(&self, now: Timestamp) {
        self.0.store(now.as_millis().saturating_mul(1_000_000), Ordering::Relaxed);
    }
}

impl Limiter {
    pub(super) fn new(quota: Quota, clock: &GateClock) -> Self {
        Self(RateLimiter::direct_with_clock(rate(quota), clock.clone()))
    }

    /// Whether there is room for one more knock at the clock's time; if so, it is counted.
    pub(super) fn admit(&self) -> bool {
        self.0.check().is_ok()
    }
}

fn rate(quota: Quota) -> Rate {
    let each = quota.per / quota.count.get();
    // A quota of more than one a nanosecond is none.
    Rate::with_period(each).unwrap_or(Rate::per_second(quota.count)).allow_burst(quota.count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;
    use std::time::Duration;

    #[test]
    fn a_spent_quota_comes_back_with_time_and_is_one_users_own() {
        let quota = Quota { count: NonZeroU32::new(3).unwrap(), per: Duration::from_secs(60) };
        let clock = GateClock::default();
        let users = [Limiter::new(quota, &clock), Limiter::new(quota, &clock)];
        let now = Timestamp::from_millis(1_760_000_000_000);
        let admitted = |user: usize, now| {
            clock.set(now);
            (0..10).filter(|_| users[user].admit()).count()
        };
        assert_eq!(admitted(0, now), 3);
        assert_eq!(admitted(0, now.plus(Duration::from_secs(20))), 1);
        assert_eq!(admitted(1, now.plus(Duration::from_secs(20))), 3);
        assert_eq!(admitted(0, now.plus(Duration::from_secs(120))), 3);
    }
}
