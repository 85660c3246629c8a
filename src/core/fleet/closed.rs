//! The shared grants that were closed, and groups of them, remembered until every publication of them has ended.
//!
//! An owner of the fleet key can publish closes without end. So there are at most [`CLOSED_MAX`] records, and as many new ones an
//! hour. Beyond that one record stands for all grants that were made until then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::fleet::{ClosedGrant, SharedId};
use crate::model::time::Timestamp;

pub(super) const CLOSED_MAX: usize = 65_536;

const HOUR: Duration = Duration::from_secs(3600);

/// The record that stands for all is moved ahead by this much at least, so that it changes rarely.
const AHEAD: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Closed {
    grants: BTreeMap<SharedId, Known>,
    /// What is stored: for one grant also earlier ends.
    ends: BTreeSet<(Timestamp, SharedId)>,
    /// Publications made until the first time are closed, whatever they are. They have ended at the second.
    all: (Timestamp, Timestamp),
    /// Records since this hour began.
    hour: (u64, usize),
}

/// By the times of the close.
pub(super) type Untold = BTreeMap<(Timestamp, Timestamp), Vec<SharedId>>;

#[derive(Debug, Clone, Copy)]
struct Known {
    at: Timestamp,
    until: Timestamp,
    /// The coordinator has told it, since it tells all that is live.
    is_told: bool,
}

impl Closed {
    /// Remembers it, for a later time if it was closed before. Returns what must be stored; `None` if that is known.
    pub(super) fn insert(&mut self, now: Timestamp, closed: ClosedGrant) -> Option<ClosedGrant> {
        let ClosedGrant { id, at, until } = closed;
        let (all_at, all_until) = self.all;
        let known = self.grants.get(&id);
        let is_known = known.is_some_and(|known| known.at >= at && known.until >= until);
        if is_known || (all_at >= at && all_until >= until) {
            return None;
        }
        let hour = now.as_millis() / 3_600_000;
        if self.hour.0 != hour {
            self.hour = (hour, 0);
        }
        if self.hour.1 >= CLOSED_MAX || self.ends.len() >= CLOSED_MAX {
            return Some(self.close_all(now, closed));
        }
        self.hour.1 = self.hour.1.saturating_add(1);
        Some(self.put(closed))
    }

    /// What the store kept. Returns what must be stored in its place, if that was too much.
    pub(super) fn recall(&mut self, now: Timestamp, closed: ClosedGrant) -> Option<ClosedGrant> {
        let ClosedGrant { id, at, until } = closed;
        if id == ClosedGrant::ALL {
            self.all = (at.max(self.all.0), until.max(self.all.1));
        } else if self.ends.len() >= CLOSED_MAX {
            return Some(self.close_all(now, closed));
        } else {
            self.put(closed);
        }
        None
    }

    fn put(&mut self, ClosedGrant { id, at, until }: ClosedGrant) -> ClosedGrant {
        let is_told = false;
        let new = Known { at, until, is_told };
        let known = self.grants.entry(id).or_insert(new);
        known.is_told &= known.at >= at;
        known.at = known.at.max(at);
        known.until = known.until.max(until);
        let Known { at, until, .. } = *known;
        self.ends.insert((until, id));
        ClosedGrant { id, at, until }
    }

    /// Forgets which grants were closed: all that were made until now are.
    fn close_all(&mut self, now: Timestamp, closed: ClosedGrant) -> ClosedGrant {
        let (mut at, mut until) = self.all;
        let closes = self.grants.values().map(|known| known.at);
        let latest = closes.fold(closed.at.max(now), Timestamp::max);
        if at < latest {
            // Twice as far: closes from the future, each later than the last one, change it rarely, too.
            let ahead = latest.since(now).saturating_mul(2);
            at = now.plus(ahead).plus(AHEAD);
        }
        let end = self
            .ends
            .last()
            .map_or(closed.until, |last| last.0.max(closed.until));
        if until < end {
            until = end.plus(HOUR);
        }
        self.grants.clear();
        self.ends.clear();
        self.all = (at, until);
        let id = ClosedGrant::ALL;
        ClosedGrant { id, at, until }
    }

    /// Whether a publication that was made then is closed: of a grant with these names.
    pub(super) fn covers(&self, names: &[SharedId], made: Timestamp) -> bool {
        self.at(names).is_some_and(|at| made <= at)
    }

    /// When it was closed.
    pub(super) fn at(&self, names: &[SharedId]) -> Option<Timestamp> {
        let (all, until) = self.all;
        let all = (until > Timestamp::default()).then_some(all);
        let known = names.iter().filter_map(|name| self.grants.get(name));
        known.map(|known| known.at).chain(all).max()
    }

    /// The coordinator tells all that is live, from the start.
    pub(super) fn tell_again(&mut self) {
        self.grants
            .values_mut()
            .for_each(|known| known.is_told = false);
    }

    /// The coordinator has told that these were closed.
    pub(super) fn told(&mut self, ids: &[SharedId], at: Timestamp) {
        for id in ids {
            if let Some(known) = self.grants.get_mut(id) {
                known.is_told |= known.at <= at;
            }
        }
    }

    pub(super) fn is_untold(&self, id: SharedId) -> bool {
        self.grants.get(&id).is_some_and(|known| !known.is_told)
    }

    /// What was not told; `None` if some of it is not remembered one by one.
    pub(super) fn untold(&self) -> Option<Untold> {
        if self.all.1 > Timestamp::default() {
            return None;
        }
        let mut untold = Untold::new();
        for (id, known) in self.grants.iter().filter(|(_, known)| !known.is_told) {
            let times = (known.at, known.until);
            untold.entry(times).or_default().push(*id);
        }
        Some(untold)
    }

    /// Returns the latest end of those that it forgets.
    pub(super) fn forget_ended(&mut self, now: Timestamp) -> Timestamp {
        let mut latest = Timestamp::default();
        while let Some((until, id)) = self
            .ends
            .first()
            .copied()
            .filter(|(until, _)| *until <= now)
        {
            self.ends.remove(&(until, id));
            if self
                .grants
                .get(&id)
                .is_some_and(|known| known.until <= until)
            {
                self.grants.remove(&id);
            }
            latest = until;
        }
        if self.all.1 <= now {
            latest = latest.max(self.all.1);
            self.all = Default::default();
        }
        latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::OLDEST;

    fn closed(number: u64, at: Timestamp, until: Timestamp) -> ClosedGrant {
        let id = SharedId((u128::from(number) + 1).to_be_bytes());
        ClosedGrant { id, at, until }
    }

    /// Number, time and end of the nth close.
    type Kind = fn(u64) -> (u64, Timestamp, Timestamp);

    /// An owner of the fleet key closes other grants, or one again and again, in the past or in the future.
    #[test]
    fn closes_without_end_are_bounded_and_closed() {
        let day = Duration::from_secs(86_400);
        let kinds: [Kind; 3] = [
            |nth| (nth, NOW, NOW.plus(HOUR)),
            |nth| {
                (
                    1,
                    NOW,
                    NOW.plus(Duration::from_millis(HOUR.as_millis() as u64 + nth)),
                )
            },
            |nth| (nth, NOW.plus(Duration::from_secs(60 * nth)), NOW.plus(HOUR)),
        ];
        for kind in kinds {
            let mut all = Closed::default();
            let mut stored = 0;
            for nth in 0..80_000 {
                let (number, at, until) = kind(nth);
                let now = NOW.plus(Duration::from_millis(nth / 100));
                stored += usize::from(all.insert(now, closed(number, at, until)).is_some());
                assert!(all.covers(&[closed(number, at, until).id], at));
            }
            assert!(stored < CLOSED_MAX + 100, "{stored}");
            assert!(all.ends.len() + all.grants.len() < 200, "forgotten");
            // What was closed stays so until its end, also after a restart.
            let last = closed(0, NOW, NOW);
            let (at, until) = all.all;
            let mut again = Closed::default();
            let id = ClosedGrant::ALL;
            assert_eq!(again.recall(NOW, ClosedGrant { id, at, until }), None);
            for all in [&mut all, &mut again] {
                assert!(all.covers(&[last.id], NOW));
                all.forget_ended(NOW.plus(HOUR));
                assert!(all.covers(&[last.id], NOW));
                all.forget_ended(NOW.plus(day));
                assert!(!all.covers(&[last.id], NOW));
            }
        }
    }

    #[test]
    fn new_grants_open_after_an_overflow() {
        let mut all = Closed::default();
        for nth in 0..70_000 {
            all.insert(NOW, closed(nth, NOW, NOW.plus(HOUR)));
        }
        let id = closed(1 << 40, NOW, NOW).id;
        assert!(all.covers(&[id], NOW));
        assert!(!all.covers(&[id], NOW.plus(Duration::from_secs(2))));
    }

    #[test]
    fn store_that_is_too_full_is_made_smaller() {
        let mut all = Closed::default();
        let recalled = (0..200_000).filter_map(|nth| {
            let until = NOW.plus(Duration::from_millis(nth));
            all.recall(NOW, closed(nth % 3, NOW, until))
        });
        assert!(
            recalled
                .last()
                .is_some_and(|last| last.id == ClosedGrant::ALL)
        );
        assert!(all.covers(&[closed(2, NOW, NOW).id], NOW));
    }
}
