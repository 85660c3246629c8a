//! Notices: which version of a roster a gate has loaded. Another gate that has a lower one looks for it at once.
//!
//! A notice is only a hint. What the gate finds is trusted by its signatures alone.

use std::time::Duration;

use crate::model::time::Timestamp;

/// A notice causes no more looks than one in this time, whatever the gates say.
const LOOK: Duration = Duration::from_secs(5);

/// The coordinator keeps a notice so long. A gate that joins later looks by itself.
pub(super) const NOTICE_LASTS: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Notices {
    /// The version in force here; `None`: this gate looks for none.
    own: Option<u64>,
    is_unsaid: bool,
    /// Another gate has a higher one.
    is_behind: bool,
    looked: Option<Timestamp>,
}

impl Notices {
    /// This version is in force here.
    pub(super) fn loaded(&mut self, version: Option<u64>) {
        self.own = version;
        self.is_unsaid = version.is_some_and(|version| version > 0);
        self.is_behind = false;
    }

    /// Another gate has loaded this version.
    pub(super) fn heard(&mut self, version: u64) {
        self.is_behind |= self.own.is_some_and(|own| version > own);
    }

    /// The version that the others are to hear of, once.
    pub(super) fn take_unsaid(&mut self) -> Option<u64> {
        std::mem::take(&mut self.is_unsaid)
            .then_some(self.own)
            .flatten()
    }

    /// Whether it is time to look for a newer one.
    pub(super) fn take_look(&mut self, now: Timestamp) -> bool {
        let is_soon = |looked: Timestamp| now >= looked && now.since(looked) < LOOK;
        if !self.is_behind || self.looked.is_some_and(is_soon) {
            return false;
        }
        (self.is_behind, self.looked) = (false, Some(now));
        true
    }
}
