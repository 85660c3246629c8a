//! The replay window: used marks, and the clock that never runs back. proto/README.md section 6, steps 7 and 8.
//!
//! A mark is forgotten when the horizon passes its timestamp, and the horizon follows every admission. So quota ×
//! window bounds the marks of admitted knocks. Marks of refused knocks are kept as well: they must not open when the policy
//! allows more. Past a number of them their user's own horizon moves.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use postern_proto::Mark;

use crate::model::mark::{MarkRecord, StoredTimes};
use crate::model::reason::Drop;
use crate::model::time::Timestamp;

/// Within this time the same bytes are a duplicate, not a replay.
const DUPLICATE_WITHIN: Duration = Duration::from_secs(1);

/// Refused marks of one user. For one more, the oldest is forgotten, and the user's horizon passes it.
const REFUSED_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct ReplayWindow {
    window: Duration,
    times: StoredTimes,
    admitted: HashMap<Mark, Times>,
    by_timestamp: BTreeSet<(Timestamp, Mark)>,
    refused: HashMap<Mark, Times>,
    users: BTreeMap<usize, UserMarks>,
}

/// What is known of one user's refused knocks.
#[derive(Debug, Default)]
struct UserMarks {
    horizon: Timestamp,
    marks: BTreeSet<(Timestamp, Mark)>,
}

#[derive(Debug, Clone, Copy)]
struct Times {
    made: Timestamp,
    came: Timestamp,
}

impl From<MarkRecord> for Times {
    fn from(record: MarkRecord) -> Self {
        Self {
            made: record.timestamp,
            came: record.admitted,
        }
    }
}

/// The reason to drop a packet that first came at one time and comes again at another.
pub(crate) fn again(first: Timestamp, now: Timestamp) -> Drop {
    if now.since(first) <= DUPLICATE_WITHIN {
        Drop::Duplicate
    } else {
        Drop::Replay
    }
}

impl ReplayWindow {
    pub(super) fn new(window: Duration, times: StoredTimes, marks: Vec<MarkRecord>) -> Self {
        let horizon = times.horizon.max(times.floor.minus(window));
        let mut replay = Self {
            window,
            times: StoredTimes {
                floor: times.floor,
                horizon,
            },
            admitted: HashMap::new(),
            by_timestamp: BTreeSet::new(),
            refused: HashMap::new(),
            users: BTreeMap::new(),
        };
        for record in marks {
            replay.insert(record);
        }
        replay.forget();
        replay
    }

    /// The gate's clock: the system's, but never earlier than the recorded floor.
    pub(super) fn clock(&self, system: Timestamp) -> Timestamp {
        system.max(self.times.floor)
    }

    /// Section 6, step 7. The window is that of this kind of user, at most the one of all.
    pub(super) fn fresh(
        &self,
        user: usize,
        now: Timestamp,
        timestamp: Timestamp,
        window: Duration,
    ) -> Result<(), Drop> {
        let horizon = self.times.horizon.max(self.horizon_of(user));
        if timestamp < horizon || now.since(timestamp) > window {
            return Err(Drop::TooOld);
        }
        if timestamp.since(now) > window {
            Err(Drop::TooNew)
        } else {
            Ok(())
        }
    }

    /// Section 6, step 8. `record.admitted` is now.
    pub(super) fn unseen(&self, record: &MarkRecord) -> Result<(), Drop> {
        self.known(&record.mark)
            .map_or(Ok(()), |first| Err(again(first.admitted, record.admitted)))
    }

    /// The record of a mark, whether its knock was admitted or refused.
    pub(super) fn known(&self, mark: &Mark) -> Option<MarkRecord> {
        let times = self.admitted.get(mark).or_else(|| self.refused.get(mark))?;
        Some(MarkRecord {
            mark: *mark,
            timestamp: times.made,
            admitted: times.came,
        })
    }

    /// Records an admitted mark and advances the times, which must be durable with it.
    pub(super) fn remember(&mut self, record: MarkRecord) -> StoredTimes {
        self.insert(record);
        self.times.floor = self.times.floor.max(record.admitted);
        self.times.horizon = self.times.horizon.max(self.times.floor.minus(self.window));
        self.forget();
        self.times
    }

    /// Records the mark of a refused knock. Returns whether the user's horizon moved.
    pub(super) fn remember_refused(&mut self, user: usize, record: &MarkRecord) -> bool {
        self.refused.insert(record.mark, (*record).into());
        let own = self.users.entry(user).or_default();
        own.marks.insert((record.timestamp, record.mark));
        if own.marks.len() <= REFUSED_MAX {
            return false;
        }
        if let Some((oldest, mark)) = own.marks.pop_first() {
            self.refused.remove(&mark);
            own.horizon = own.horizon.max(oldest.plus(Duration::from_millis(1)));
        }
        true
    }

    pub(super) fn horizon_of(&self, user: usize) -> Timestamp {
        self.users
            .get(&user)
            .map_or(Timestamp::default(), |own| own.horizon)
    }

    /// The user's horizon as the store kept it.
    pub(super) fn recall_horizon(&mut self, user: usize, horizon: Timestamp) {
        let own = self.users.entry(user).or_default();
        own.horizon = own.horizon.max(horizon);
    }

    pub(super) fn admitted(&self, mark: &Mark) -> Option<Timestamp> {
        self.admitted.get(mark).map(|times| times.came)
    }

    /// When this mark was refused, if it is still in the list.
    pub(super) fn refused(&self, mark: &Mark) -> Option<Timestamp> {
        self.refused.get(mark).map(|times| times.came)
    }

    pub(super) fn times(&self) -> StoredTimes {
        self.times
    }

    pub(super) fn len(&self) -> usize {
        self.admitted.len()
    }

    fn insert(&mut self, record: MarkRecord) {
        self.admitted.insert(record.mark, record.into());
        self.by_timestamp.insert((record.timestamp, record.mark));
    }

    fn forget(&mut self) {
        while let Some((timestamp, mark)) = self.by_timestamp.first().copied()
            && timestamp < self.times.horizon
        {
            self.by_timestamp.pop_first();
            self.admitted.remove(&mark);
        }
    }

    /// Forgets the refused marks of a user that the horizon has passed.
    pub(super) fn forget_refused(&mut self, user: usize) {
        let Some(own) = self.users.get_mut(&user) else {
            return;
        };
        while let Some((timestamp, mark)) = own.marks.first().copied()
            && timestamp < self.times.horizon.max(own.horizon)
        {
            own.marks.pop_first();
            self.refused.remove(&mark);
        }
        if own.marks.is_empty() && own.horizon <= self.times.horizon {
            self.users.remove(&user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn record(n: u8, made: u64, admitted: u64) -> MarkRecord {
        MarkRecord {
            mark: Mark([n; 16]),
            timestamp: at(made),
            admitted: at(admitted),
        }
    }

    fn empty() -> ReplayWindow {
        ReplayWindow::new(WINDOW, StoredTimes::default(), Vec::new())
    }

    #[test]
    fn refused_marks_are_bounded_for_each_user() {
        let mut replay = empty();
        let nth = |n: u64| record(u8::try_from(n).unwrap(), 1000 + n, 1000 + n);
        let most = u64::try_from(REFUSED_MAX).unwrap();
        for n in 0..most {
            assert!(!replay.remember_refused(7, &nth(n)));
        }
        assert_eq!(replay.unseen(&nth(0)), Err(Drop::Duplicate));
        assert!(replay.remember_refused(7, &nth(most)));
        assert_eq!(replay.refused.len(), REFUSED_MAX);
        // What was forgotten is too old for this user, and for no other.
        assert_eq!(
            replay.fresh(7, at(1000), at(1000), WINDOW),
            Err(Drop::TooOld)
        );
        assert_eq!(replay.fresh(8, at(1000), at(1000), WINDOW), Ok(()));
        assert_eq!(replay.fresh(7, at(1001), at(1001), WINDOW), Ok(()));
        replay.remember(record(255, 1100, 1100));
        replay.forget_refused(7);
        assert_eq!((replay.refused.len(), replay.users.len()), (0, 0));
        assert_eq!(replay.len(), 1);
    }

    #[test]
    fn the_horizon_itself_is_fresh() {
        let mut replay = empty();
        assert_eq!(
            replay.remember(record(1, 1000, 1000)),
            StoredTimes {
                floor: at(1000),
                horizon: at(970)
            }
        );
        assert_eq!(replay.fresh(0, at(1000), at(970), WINDOW), Ok(()));
        // The horizon holds even with an earlier clock.
        let found = replay.fresh(0, at(999), Timestamp::from_millis(969_999), WINDOW);
        assert_eq!(found, Err(Drop::TooOld));
    }

    #[test]
    fn both_edges_of_the_window_are_inside() {
        let replay = empty();
        let now = at(1000);
        for (made, verdict) in [
            (970_000, Ok(())),
            (969_999, Err(Drop::TooOld)),
            (1_030_000, Ok(())),
            (1_030_001, Err(Drop::TooNew)),
        ] {
            let found = replay.fresh(0, now, Timestamp::from_millis(made), WINDOW);
            assert_eq!(found, verdict, "{made}");
        }
    }
}
