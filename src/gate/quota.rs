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

#[derive(Debug)]
pub(super) struct Quotas {
    clock: GateClock,
    users: Vec<RateLimiter<NotKeyed, InMemoryState, GateClock, NoOpMiddleware<Nanos>>>,
}

/// Tells governor the time that the gate was given.
#[derive(Debug, Clone, Default)]
struct GateClock(Arc<AtomicU64>);

impl Clock for GateClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0.load(Ordering::Relaxed))
    }
}

impl Quotas {
    /// In the order of the gate's users.
    pub(super) fn new(quotas: impl Iterator<Item = Quota>) -> Self {
        let clock = GateClock::default();
        let users = quotas.map(|quota| RateLimiter::direct_with_clock(rate(quota), clock.clone())).collect();
        Self { clock, users }
    }

    /// Whether this user has room for one more knock now; if so, it is counted.
    pub(super) fn admit(&self, user: usize, now: Timestamp) -> bool {
        self.clock.0.store(now.as_millis().saturating_mul(1_000_000), Ordering::Relaxed);
        self.users.get(user).is_some_and(|limiter| limiter.check().is_ok())
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
        let quotas = Quotas::new([quota, quota].into_iter());
        let now = Timestamp::from_millis(1_760_000_000_000);
        let admitted = |user, now| (0..10).filter(|_| quotas.admit(user, now)).count();
        assert_eq!(admitted(0, now), 3);
        assert_eq!(admitted(0, now.plus(Duration::from_secs(20))), 1);
        assert_eq!(admitted(1, now.plus(Duration::from_secs(20))), 3);
        assert_eq!(admitted(0, now.plus(Duration::from_secs(120))), 3);
        assert_eq!(admitted(7, now), 0, "a user that does not exist has no room");
    }
}
