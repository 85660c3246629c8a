//! Limits the log lines about publications that are refused.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::time::Timestamp;

/// A refused publication of each kind is logged at most so often: a joining gate may refuse many at once.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// When a refused publication was logged, by reason.
#[derive(Debug, Default)]
pub(super) struct PublicationLines(BTreeMap<&'static str, Timestamp>);

impl PublicationLines {
    pub(super) fn may_log(&mut self, now: Timestamp, reason: &'static str) -> bool {
        let last = self.0.get(reason);
        let may = last.is_none_or(|last| now < *last || now.since(*last) >= LINE_EVERY);
        if may {
            self.0.insert(reason, now);
        }
        may
    }
}
