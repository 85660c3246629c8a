//! How the engine does besides deciding: what it listens with, and how the store keeps up. Counts and tells; decides nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::adapters::capture::drops::Drops;
use crate::adapters::capture::hint_filter;
use crate::adapters::control::status::{CaptureStatus, StoreStatus};
use crate::model::counters::ReasonCounters;
use crate::model::reason::{Drop, Reason};
use crate::model::time::Timestamp;

/// What `posternd status` is told besides the gate's own counters.
#[derive(Debug, Default)]
pub struct Health {
    /// The firewall driver's name.
    pub backend: String,
    /// How long the daemon had run when this engine began.
    pub daemon_uptime: Duration,
    /// What the kernel drops before anyone reads it; `None` without a hint filter.
    pub kernel: Option<hint_filter::FilterCounters>,
    ears: Vec<Ear>,
    store: StoreStatus,
}

/// One capture, as the loop knows it.
#[derive(Debug)]
struct Ear {
    name: String,
    received: Arc<AtomicU64>,
    drops: Option<Drops>,
    lost: Option<String>,
}

impl Health {
    /// One more capture; its number, and the count that its thread keeps of what it received.
    pub fn listens(&mut self, name: String, drops: Option<Drops>) -> (usize, Arc<AtomicU64>) {
        let received = Arc::new(AtomicU64::new(0));
        self.ears.push(Ear {
            name,
            received: Arc::clone(&received),
            drops,
            lost: None,
        });
        (self.ears.len().saturating_sub(1), received)
    }

    /// The capture of this number hears nothing any more, and why; or hears again.
    pub fn hears(&mut self, number: usize, lost: Option<String>) {
        if let Some(ear) = self.ears.get_mut(number) {
            ear.lost = lost;
        }
    }

    /// A group of marks is on stable storage.
    pub fn stored(&mut self, now: Timestamp, marks: usize, took: Duration) {
        let store = &mut self.store;
        store.commits = store.commits.saturating_add(1);
        store.marks = store.marks.saturating_add(marks as u64);
        store.largest_group = store.largest_group.max(marks);
        store.last = Some(now);
        store.last_took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    }

    /// Reads what the kernel dropped before its count begins anew.
    pub fn look(&mut self) {
        self.ears
            .iter_mut()
            .filter_map(|ear| ear.drops.as_mut())
            .for_each(|drops| _ = drops.count());
    }

    /// All captures.
    pub fn captures(&mut self) -> Vec<CaptureStatus> {
        let told = |ear: &mut Ear| CaptureStatus {
            name: ear.name.clone(),
            listening: ear.lost.is_none(),
            why: ear.lost.clone(),
            received: ear.received.load(Ordering::Relaxed),
            dropped: ear.drops.as_mut().and_then(Drops::count),
        };
        self.ears.iter_mut().map(told).collect()
    }

    /// These counters of the gate, with what the kernel dropped for the same reasons.
    pub fn with_kernel(&self, counters: &ReasonCounters) -> ReasonCounters {
        let mut all = counters.clone();
        let dropped = self
            .kernel
            .as_ref()
            .and_then(|kernel| kernel.count().ok())
            .unwrap_or_default();
        all.add(Reason::Drop(Drop::Length), dropped.length);
        all.add(Reason::Drop(Drop::UnknownHint), dropped.unknown_hint);
        all
    }

    /// The store.
    pub fn store(&self) -> StoreStatus {
        self.store.clone()
    }
}
