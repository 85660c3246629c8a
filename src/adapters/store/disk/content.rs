//! What the records of a log say together. Pure.

use std::collections::{BTreeMap, BTreeSet};

use postern_proto::{CodeStep, Mark};

use super::record::Entry;
use crate::model::mark::{
    MarkRecord, RefusedRecord, RunRecord, StoredMarks, StoredTimes, UsedCodes, UserRecord,
};
use crate::model::time::Timestamp;

/// The last state: each mark once, each user once, and nothing that a horizon has passed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub times: StoredTimes,
    marks: BTreeMap<(Timestamp, [u8; 16]), Timestamp>,
    refused: BTreeMap<(String, Timestamp, [u8; 16]), Timestamp>,
    users: BTreeMap<String, (Timestamp, UsedCodes)>,
    runs: BTreeMap<(String, [u8; 16]), Timestamp>,
}

impl Content {
    /// Adds one change. Its times replace the earlier ones.
    pub(super) fn apply(&mut self, times: StoredTimes, entries: impl IntoIterator<Item = Entry>) {
        self.times = times;
        let mut touched = BTreeSet::new();
        for entry in entries {
            match entry {
                Entry::Times => {}
                Entry::Mark(record) => {
                    let key = (record.timestamp, record.mark.0);
                    self.marks.insert(key, record.admitted);
                }
                Entry::Refused(RefusedRecord { user, record }) => {
                    touched.insert((user.clone(), times.horizon));
                    let key = (user, record.timestamp, record.mark.0);
                    self.refused.insert(key, record.admitted);
                }
                Entry::User(user) => {
                    touched.insert((user.user.clone(), user.horizon));
                    self.users.insert(user.user, (user.horizon, user.codes));
                }
                Entry::Run(RunRecord { user, mark, used }) => {
                    self.runs.insert((user, mark.0), used);
                }
            }
        }
        self.marks = self.marks.split_off(&(times.horizon, [0; 16]));
        for (user, horizon) in touched {
            let (from, to) = (Timestamp::default(), horizon);
            let passed = (user.clone(), from, [0; 16])..(user, to, [0; 16]);
            let passed: Vec<_> = self
                .refused
                .range(passed)
                .map(|(key, _)| key.clone())
                .collect();
            for key in &passed {
                self.refused.remove(key);
            }
        }
    }

    /// Everything as entries of one change.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let StoredMarks {
            marks,
            refused,
            users,
            runs,
            ..
        } = self.stored();
        let marks = marks.into_iter().map(Entry::Mark);
        let users = users.into_iter().map(Entry::User);
        let refused = refused.into_iter().map(Entry::Refused);
        let runs = runs.into_iter().map(Entry::Run);
        marks.chain(users).chain(refused).chain(runs).collect()
    }

    pub(super) fn stored(&self) -> StoredMarks {
        let record = |timestamp: &Timestamp, mark: &[u8; 16], admitted: &Timestamp| MarkRecord {
            mark: Mark(*mark),
            timestamp: *timestamp,
            admitted: *admitted,
        };
        let marks = self
            .marks
            .iter()
            .map(|((at, mark), admitted)| record(at, mark, admitted));
        let refused = self
            .refused
            .iter()
            .filter(|((_, at, _), _)| *at >= self.times.horizon);
        let refused = refused.map(|((user, at, mark), came)| RefusedRecord {
            user: user.clone(),
            record: record(at, mark, came),
        });
        let users = self
            .users
            .iter()
            .map(|(user, (horizon, codes))| UserRecord {
                user: user.clone(),
                horizon: *horizon,
                codes: *codes,
            });
        let runs = self.runs.iter().map(|((user, mark), used)| RunRecord {
            user: user.clone(),
            mark: Mark(*mark),
            used: *used,
        });
        StoredMarks {
            times: self.times,
            marks: marks.collect(),
            refused: refused.collect(),
            users: users.collect(),
            runs: runs.collect(),
            closed: Vec::new(),
            closed_floor: Timestamp::default(),
        }
    }

    /// Removes marks.
    pub(super) fn forget(&mut self, is_over: impl Fn(&MarkRecord) -> bool) {
        self.marks.retain(|(timestamp, mark), admitted| {
            let (mark, timestamp, admitted) = (Mark(*mark), *timestamp, *admitted);
            !is_over(&MarkRecord {
                mark,
                timestamp,
                admitted,
            })
        });
    }

    /// Clock floor and horizons become this time, also earlier. Marks of later times stay.
    pub(super) fn reset_clock(&mut self, now: Timestamp) {
        self.times = StoredTimes {
            floor: now,
            horizon: now,
        };
        let CodeStep(step) = CodeStep::of(now.as_millis());
        for (horizon, codes) in self.users.values_mut() {
            *horizon = (*horizon).min(now);
            codes.clean = codes.clean.min(now);
            // A used code of a later time would block all codes until then. The code of now may be among those that it passed.
            if codes.step.is_some_and(|used| used > step) {
                (codes.step, codes.v4, codes.v6) = (Some(step), true, true);
            }
        }
    }
}
