//! Leases that end what is stored. They are granted in advance, because a lease for each claim would double its time, and each ends
//! few keys, because etcd stalls while it removes many at once.

use std::time::{Duration, Instant};

use crate::adapters::clock;

/// A lease is used for this long at least, and replaced after half of it.
const USE_FOR: Duration = Duration::from_secs(20);

/// The same for its keys: to remove 20,000 at once stalls etcd for 0.3 s.
const RENEW_AT: usize = 250;
const KEYS_MAX: usize = 500;

/// Leases of one length, one after the other.
#[derive(Debug)]
pub(super) struct Leases {
    /// How long a key lasts at least.
    pub(super) longest: Duration,
    current: Option<Lease>,
}

#[derive(Debug)]
struct Lease {
    id: String,
    /// Before it was asked for, so that etcd ends it later than this gate thinks.
    asked: Instant,
    keys: usize,
}

impl Leases {
    pub(super) const fn new(longest: Duration) -> Self {
        Self {
            longest,
            current: None,
        }
    }

    /// Long ones are replaced less often, so that there are not too many.
    fn use_for(&self) -> Duration {
        USE_FOR.max(self.longest / 16)
    }

    pub(super) fn seconds(&self) -> u64 {
        let long = self.longest.saturating_add(self.use_for());
        long.as_secs().saturating_add(1)
    }

    pub(super) fn is_due(&self) -> bool {
        self.current.as_ref().is_none_or(|lease| {
            clock::elapsed(lease.asked) >= self.use_for() / 2 || lease.keys >= RENEW_AT
        })
    }

    pub(super) fn granted(&mut self, id: String, asked: Instant) {
        let keys = 0;
        self.current = Some(Lease { id, asked, keys });
    }

    /// The lease for this many new keys.
    pub(super) fn take(&mut self, keys: usize) -> Option<String> {
        let use_for = self.use_for();
        let lease = self.current.as_mut()?;
        let sum = lease.keys.saturating_add(keys);
        if clock::elapsed(lease.asked) > use_for || sum > KEYS_MAX {
            return None;
        }
        lease.keys = sum;
        Some(lease.id.clone())
    }

    pub(super) fn forget(&mut self) {
        self.current = None;
    }
}
