//! The replay window: used marks, and the clock that never runs back. proto/README.md section 6, steps 7 and 8.
//!
//! A mark is forgotten when the horizon passes its timestamp, and the horizon follows every admission. So quota ×
//! window bounds the marks of admitted knocks. Marks of refused knocks are kept in a list of fixed length, only so that
//! a repeated one is not logged again.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use postern_proto::Mark;

use crate::model::mark::{MarkRecord, StoredMarks, StoredTimes};
use crate::model::reason::Drop;
use crate::model::time::Timestamp;

/// Within this time the same bytes are a duplicate, not a replay.
const DUPLICATE_WITHIN: Duration = Duration::from_secs(1);

const REFUSED_MAX: usize = 4096;

#[derive(Debug)]
pub(super) struct ReplayWindow {
    window: Duration,
    times: StoredTimes,
    admitted: HashMap<Mark, Times>,
    by_timestamp: BTreeSet<(Timestamp, Mark)>,
    refused: VecDeque<Mark>,
    refused_at: HashMap<Mark, Times>,
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
pub(super) fn again(first: Timestamp, now: Timestamp) -> Drop {
    if now.since(first) <= DUPLICATE_WITHIN {
        Drop::Duplicate
    } else {
        Drop::Replay
    }
}

impl ReplayWindow {
    pub(super) fn new(window: Duration, kept: StoredMarks) -> Self {
        let horizon = kept.times.horizon.max(kept.times.floor.minus(window));
        let mut replay = Self {
            window,
            times: StoredTimes {
                floor: kept.times.floor,
                horizon,
            },
            admitted: HashMap::new(),
            by_timestamp: BTreeSet::new(),
            refused: VecDeque::new(),
            refused_at: HashMap::new(),
        };
        for record in kept.marks {
            replay.insert(record);
        }
        replay.forget();
        replay
    }

    /// The gate's clock: the system's, but never earlier than the recorded floor.
    pub(super) fn clock(&self, system: Timestamp) -> Timestamp {
        system.max(self.times.floor)
    }

    /// Section 6, step 7.
    pub(super) fn fresh(&self, now: Timestamp, timestamp: Timestamp) -> Result<(), Drop> {
        if timestamp < self.times.horizon || now.since(timestamp) > self.window {
            return Err(Drop::TooOld);
        }
        if timestamp.since(now) > self.window {
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
        let times = self
            .admitted
            .get(mark)
            .or_else(|| self.refused_at.get(mark))?;
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

    pub(super) fn remember_refused(&mut self, record: &MarkRecord) {
        if self.refused.len() >= REFUSED_MAX
            && let Some(oldest) = self.refused.pop_front()
        {
            self.refused_at.remove(&oldest);
        }
        self.refused.push_back(record.mark);
        self.refused_at.insert(record.mark, (*record).into());
    }

    pub(super) fn admitted(&self, mark: &Mark) -> Option<Timestamp> {
        self.admitted.get(mark).map(|times| times.came)
    }

    /// When this mark was refused, if it is still in the list.
    pub(super) fn refused(&self, mark: &Mark) -> Option<Timestamp> {
        self.refused_at.get(mark).map(|times| times.came)
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

    #[test]
    fn the_list_of_refused_marks_is_bounded() {
        let mut replay = ReplayWindow::new(WINDOW, StoredMarks::default());
        let nth = |n: usize| {
            let mut mark = [0; 16];
            mark[..8].copy_from_slice(&n.to_be_bytes());
            MarkRecord {
                mark: Mark(mark),
                timestamp: at(1000),
                admitted: at(1000),
            }
        };
        for n in 0..REFUSED_MAX + 10 {
            replay.remember_refused(&nth(n));
        }
        assert_eq!(replay.refused.len(), REFUSED_MAX);
        assert_eq!(replay.refused_at.len(), REFUSED_MAX);
        assert_eq!(replay.unseen(&nth(9)), Ok(()));
        assert_eq!(replay.unseen(&nth(10)), Err(Drop::Duplicate));
        assert_eq!(replay.len(), 0);
    }

    #[test]
    fn the_horizon_itself_is_fresh() {
        let mut replay = ReplayWindow::new(WINDOW, StoredMarks::default());
        assert_eq!(
            replay.remember(record(1, 1000, 1000)),
            StoredTimes {
                floor: at(1000),
                horizon: at(970)
            }
        );
        assert_eq!(replay.fresh(at(1000), at(970)), Ok(()));
        // The horizon holds even with an earlier clock.
        let found = replay.fresh(at(999), Timestamp::from_millis(969_999));
        assert_eq!(found, Err(Drop::TooOld));
    }

    #[test]
    fn both_edges_of_the_window_are_inside() {
        let replay = ReplayWindow::new(WINDOW, StoredMarks::default());
        let now = at(1000);
        for (made, verdict) in [
            (970_000, Ok(())),
            (969_999, Err(Drop::TooOld)),
            (1_030_000, Ok(())),
            (1_030_001, Err(Drop::TooNew)),
        ] {
            let found = replay.fresh(now, Timestamp::from_millis(made));
            assert_eq!(found, verdict, "{made}");
        }
    }
}
