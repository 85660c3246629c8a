//! When a client knocks again, and how often: pure values, without a clock.
//!
//! A knock or an answer may be lost, and a gate sends no answer. So the first repeats come early and later ones each
//! second. Half of the user's quota is left for the next command.

use std::time::Duration;

use crate::model::quota::Quota;

/// The most knocks of one wait, over all addresses.
pub(super) const KNOCKS_MAX: usize = 10;

const EARLY: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    pub(crate) quota: Quota,
    /// Whether to knock once at each address and never again.
    pub(crate) once: bool,
}

impl Schedule {
    /// When this round is due, counted from the first one; `None` if there is none.
    pub(super) fn due(&self, round: usize) -> Option<Duration> {
        if self.once && round > 0 {
            return None;
        }
        let later = || {
            let seconds = round.saturating_sub(EARLY.len()).saturating_add(2);
            Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX))
        };
        Some(EARLY.get(round).copied().unwrap_or_else(later))
    }

    /// How many knocks may be sent `now`, after those that were sent at these times, and after so many of earlier waits.
    pub(super) fn room(&self, now: Duration, sent: &[Duration], earlier: usize) -> usize {
        let (most, time) = self.half();
        let recent = sent.iter().filter(|sent| now.saturating_sub(**sent) < time);
        let in_quota = most.saturating_sub(recent.count()).saturating_sub(earlier);
        in_quota.min(KNOCKS_MAX.saturating_sub(sent.len()))
    }

    /// How long after `now` there is room for so many knocks, after those that were sent at these times, in order.
    pub(super) fn until_room(&self, now: Duration, sent: &[Duration], needed: usize) -> Duration {
        let (most, time) = self.half();
        let over = sent.len().saturating_add(needed.min(most));
        let last = over.saturating_sub(most).checked_sub(1);
        let last = last.and_then(|last| sent.get(last));
        let room_at = last.map_or(now, |last| last.saturating_add(time));
        room_at.saturating_sub(now)
    }

    /// Half of the quota: so many knocks in this time.
    pub(super) fn half(&self) -> (usize, Duration) {
        let count = usize::try_from(self.quota.count.get()).unwrap_or(usize::MAX);
        match count / 2 {
            // Half of a single knock is one in twice the time.
            0 => (1, self.quota.per.saturating_mul(2)),
            half => (half, self.quota.per),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(quota: &str) -> Schedule {
        Schedule {
            quota: quota.parse().unwrap(),
            once: false,
        }
    }

    #[test]
    fn repeats_come_early_then_each_second() {
        let due = |round| schedule("30/min").due(round).map(|due| due.as_millis());
        let times = [0, 250, 500, 1000, 2000, 3000, 4000];
        assert!((0..7).map(due).eq(times.map(Some)));
        let once = Schedule {
            once: true,
            ..schedule("30/min")
        };
        assert_eq!((once.due(0), once.due(1)), (Some(Duration::ZERO), None));
    }

    #[test]
    fn ten_knocks_or_half_the_quota() {
        // The times in seconds at which one address is knocked at, within a minute and a half.
        let knocks = |quota: &str| {
            let schedule = schedule(quota);
            let (mut sent, mut round) = (Vec::new(), 0);
            while let Some(due) = schedule.due(round).filter(|due| due.as_secs() < 90) {
                if schedule.room(due, &sent, 0) > 0 {
                    sent.push(due);
                }
                round += 1;
            }
            sent.iter().map(Duration::as_secs_f64).collect::<Vec<_>>()
        };
        let all = [0.0, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
        assert_eq!(knocks("30/min"), all);
        assert_eq!(
            knocks("8/min"),
            [&all[..4], &[60.0, 61.0, 62.0, 63.0]].concat()
        );
        assert_eq!(knocks("7/h"), all[..3]);
        assert_eq!(knocks("1/day"), all[..1]);
        assert_eq!(knocks("1/s")[..3], [0.0, 2.0, 4.0]);
    }

    #[test]
    fn later_waits_have_what_is_left() {
        let (schedule, now) = (schedule("8/min"), Duration::from_secs(100));
        let sent = [50, 60, 70].map(Duration::from_secs);
        assert_eq!(schedule.room(Duration::ZERO, &[], sent.len()), 1);
        let until = |needed| schedule.until_room(now, &sent, needed).as_secs();
        assert_eq!([until(1), until(2), until(3), until(9)], [0, 10, 20, 30]);
    }

    #[test]
    fn all_addresses_share_one_budget() {
        let schedule = schedule("30/min");
        assert_eq!(schedule.room(Duration::ZERO, &[], 0), KNOCKS_MAX);
        assert_eq!(schedule.room(Duration::ZERO, &[Duration::ZERO; 8], 0), 2);
    }
}
