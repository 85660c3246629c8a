//! A store in memory for tests. Clones share it, as two runs of an engine share a disk.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::{ReplayStore, StoreError, StoreFault};
use crate::model::mark::{MarkRecord, RefusedRecord, StoredMarks, UserRecord};

/// A store in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    disk: Arc<Mutex<Disk>>,
}

/// What the store holds.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    /// The last commit.
    pub kept: StoredMarks,
    /// Every call fails with this while it is set.
    pub failing: Option<String>,
}

impl MemoryStore {
    /// Gives access to the content, also to change it as a test needs.
    pub fn with<R>(&self, look: impl FnOnce(&mut Disk) -> R) -> R {
        look(&mut self.disk.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Disk {
    fn check(&self) -> Result<(), StoreError> {
        let fault = self.failing.clone().map(StoreFault::System);
        fault.map_or(Ok(()), |fault| {
            Err(StoreError::new(Path::new("memory"), fault))
        })
    }
}

impl ReplayStore for MemoryStore {
    fn load(&mut self) -> Result<StoredMarks, StoreError> {
        self.with(|disk| disk.check().map(|()| disk.kept.clone()))
    }

    fn write(&mut self, change: &StoredMarks) -> Result<(), StoreError> {
        self.with(|disk| {
            disk.check()?;
            let (kept, times) = (&mut disk.kept, change.times);
            let is_kept = |record: &MarkRecord| record.timestamp >= times.horizon;
            kept.marks.extend_from_slice(&change.marks);
            kept.marks.retain(is_kept);
            kept.refused.extend_from_slice(&change.refused);
            kept.refused.retain(|refused| is_kept(&refused.record));
            let is_old = |old: &UserRecord| change.users.iter().all(|new| new.user != old.user);
            kept.users.retain(is_old);
            kept.users.extend_from_slice(&change.users);
            let passed = |old: &RefusedRecord| {
                let mut users = change.users.iter();
                users.any(|new| new.user == old.user && old.record.timestamp < new.horizon)
            };
            kept.refused.retain(|old| !passed(old));
            kept.runs.extend_from_slice(&change.runs);
            for new in &change.closed {
                kept.closed.retain(|old| !new.covers(old));
                kept.closed.push(*new);
            }
            let floor = times.floor.max(change.closed_floor);
            kept.closed_floor = kept.closed_floor.max(floor);
            kept.closed.retain(|grant| grant.until >= floor);
            kept.times = times;
            Ok(())
        })
    }

    fn settle(&mut self) -> Result<(), StoreError> {
        self.with(|disk| disk.check())
    }
}
