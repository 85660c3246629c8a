//! Which attempts without a grant are new, so that `explain --live` tells each change once.

use std::collections::BTreeMap;
use std::time::Duration;

use ipnet::IpNet;

use crate::model::attempt::Unused;
use crate::model::time::Timestamp;

/// Somebody who tries again and again is told this often.
const APART: Duration = Duration::from_secs(3);

type Key = (String, IpNet, Timestamp);

#[derive(Debug, Default)]
pub(super) struct NewAttempts {
    /// How many attempts were told, and when.
    told: BTreeMap<Key, (u64, Timestamp)>,
}

impl NewAttempts {
    /// What was there before is not new.
    pub(super) fn new(before: Option<Vec<Unused>>) -> Self {
        let before = before.unwrap_or_default().into_iter();
        let told = before.map(|unused| (key(&unused), (total(&unused), Timestamp::default())));
        Self {
            told: told.collect(),
        }
    }

    /// The ones with attempts since they were told last.
    pub(super) fn among(&mut self, now: Timestamp, all: Vec<Unused>) -> Vec<Unused> {
        let keys: Vec<Key> = all.iter().map(key).collect();
        self.told.retain(|known, _| keys.contains(known));
        let mut new = all;
        new.retain(|unused| {
            let (count, at) = self.told.get(&key(unused)).copied().unwrap_or_default();
            let is_new = total(unused) > count && now.since(at) >= APART;
            if is_new {
                self.told.insert(key(unused), (total(unused), now));
            }
            is_new
        });
        new
    }
}

fn key(unused: &Unused) -> Key {
    (unused.user.clone(), unused.allow, unused.admitted)
}

fn total(unused: &Unused) -> u64 {
    let counts = unused.attempts.iter().map(|tried| tried.count);
    counts.fold(0, u64::saturating_add)
}
