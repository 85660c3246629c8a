//! Quotas: how many knocks of one user are admitted in a time. proto/README.md section 6, step 10.
//!
//! governor counts, with one cell for each user and the gate's time. Only authentic and allowed knocks come here, so
//! nobody without a key can use up a quota.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota as Rate, RateLimiter};

use crate::model::policy::Quota;
use crate::model::time::Timestamp;

const NANOS_A_MILLI: u64 = 1_000_000;

#[derive(Debug)]
pub(super) struct Limiter(RateLimiter<NotKeyed, InMemoryState, GateClock, NoOpMiddleware<Nanos>>);

/// When one user's whole quota is back, in nanoseconds. governor itself cannot tell this without using the quota.
#[derive(Debug, Default)]
pub(super) struct Meter(AtomicU64);

/// How much of a user's quota is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaLeft {
    pub user: String,
    pub quota: Quota,
    /// Knocks that are left now.
    pub left: u32,
    /// When one more is admitted; a past time if it is now.
    pub room: Timestamp,
    /// When the whole quota is back.
    pub whole: Timestamp,
}

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
        self.0.store(nanos(now), Ordering::Relaxed);
    }
}

impl Limiter {
    pub(super) fn new(quota: Quota, clock: &GateClock) -> Self {
        Self(RateLimiter::direct_with_clock(rate(quota), clock.clone()))
    }

    /// Counts one knock at the clock's time, unless the quota is used up.
    pub(super) fn admit(&self) -> bool {
        self.0.check().is_ok()
    }
}

impl Meter {
    pub(super) fn count(&self, quota: Quota, now: Timestamp) {
        let whole = self
            .0
            .load(Ordering::Relaxed)
            .max(nanos(now))
            .saturating_add(share(quota));
        self.0.store(whole, Ordering::Relaxed);
    }

    /// How much is left at this time; `None` if nothing is used.
    pub(super) fn left(&self, user: &str, quota: Quota, now: Timestamp) -> Option<QuotaLeft> {
        let (whole, share) = (self.0.load(Ordering::Relaxed), share(quota).max(1));
        let used = whole
            .checked_sub(nanos(now))
            .filter(|missing| *missing > 0)?
            .div_ceil(share);
        let room = whole
            .saturating_sub(share.saturating_mul(u64::from(quota.count.get()).saturating_sub(1)));
        let at = |nanos: u64| Timestamp::from_millis(nanos.div_ceil(NANOS_A_MILLI));
        let left = quota
            .count
            .get()
            .saturating_sub(u32::try_from(used).unwrap_or(u32::MAX));
        Some(QuotaLeft {
            user: user.to_owned(),
            quota,
            left,
            room: at(room),
            whole: at(whole),
        })
    }
}

fn rate(quota: Quota) -> Rate {
    // A quota of more than one knock a nanosecond has no period.
    Rate::with_period(quota.per / quota.count.get())
        .unwrap_or(Rate::per_second(quota.count))
        .allow_burst(quota.count)
}

fn share(quota: Quota) -> u64 {
    u64::try_from((quota.per / quota.count.get()).as_nanos()).unwrap_or(u64::MAX)
}

fn nanos(time: Timestamp) -> u64 {
    time.as_millis().saturating_mul(NANOS_A_MILLI)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;
    use std::time::Duration;

    #[test]
    fn the_reported_rest_is_admitted() {
        let start = Timestamp::from_millis(1_760_000_000_000);
        for (count, per) in [(1, 1_000), (3, 1_000), (7, 60_000), (30, 60_000)] {
            let quota = Quota {
                count: NonZeroU32::new(count).unwrap(),
                per: Duration::from_millis(per),
            };
            for knocks in 1..=count {
                for later in [0, 1, 333, 334, 999, 1_000, 8_572, 30_000, 60_000] {
                    let clock = GateClock::default();
                    let (limiter, meter) = (Limiter::new(quota, &clock), Meter::default());
                    clock.set(start);
                    assert!((0..knocks).all(|_| limiter.admit()));
                    (0..knocks).for_each(|_| meter.count(quota, start));
                    let now = start.plus(Duration::from_millis(later));
                    let spent = meter.left("alice", quota, now);
                    let left = spent.as_ref().map_or(count, |spent| spent.left);
                    clock.set(now);
                    let admitted = (0..=count).take_while(|_| limiter.admit()).count();
                    assert_eq!(
                        u32::try_from(admitted).unwrap(),
                        left,
                        "{count} in {per} ms, {knocks} knocks, {later} ms later: {spent:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_used_up_quota_reports_the_next_admission() {
        let quota = Quota {
            count: NonZeroU32::new(2).unwrap(),
            per: Duration::from_secs(60),
        };
        let (meter, now) = (Meter::default(), Timestamp::from_millis(1_760_000_000_000));
        assert_eq!(meter.left("alice", quota, now), None);
        (0..2).for_each(|_| meter.count(quota, now));
        let spent = meter.left("alice", quota, now).unwrap();
        let after = |seconds| now.plus(Duration::from_secs(seconds));
        let expected = (0, after(30), after(60));
        assert_eq!((spent.left, spent.room, spent.whole), expected);
        assert_eq!(meter.left("alice", quota, after(30)).unwrap().left, 1);
        assert_eq!(meter.left("alice", quota, after(60)), None);
    }

    #[test]
    fn a_used_up_quota_is_restored_with_time() {
        let quota = Quota {
            count: NonZeroU32::new(3).unwrap(),
            per: Duration::from_secs(60),
        };
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
