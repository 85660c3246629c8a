//! The state of captures and store, as `posternd status` reports it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::adapters::capture::drops::Drops;
use crate::adapters::capture::hint_filter;
use crate::adapters::capture::line_counters::LineCounters;
use crate::adapters::control::status::{CaptureStatus, StoreStatus};
use crate::core::gate::Decision;
use crate::model::counters::{CaptureCounters, ReasonCounters};
use crate::model::datagram::Datagram;
use crate::model::reason::{Drop, Reason};
use crate::model::time::Timestamp;

/// What `posternd status` reports besides the gate's counters.
#[derive(Debug, Default)]
pub(crate) struct Health {
    pub backend: String,
    pub daemon_uptime: Duration,
    pub roster_version: Option<u64>,
    /// What the hint filter drops; `None` without one.
    pub kernel: Option<hint_filter::FilterCounters>,
    /// The packets whose copies it drops.
    pub used: Option<hint_filter::UsedPackets>,
    /// The group of NFLOG that tells of attempts without a grant.
    pub nflog_group: Option<u16>,
    captures: Vec<CaptureHealth>,
    store: StoreStatus,
}

#[derive(Debug)]
struct CaptureHealth {
    name: String,
    received: Arc<AtomicU64>,
    drops: Option<Drops>,
    /// Of the log sensor.
    lines: Option<Arc<LineCounters>>,
    restarts: u64,
    lost: Option<String>,
}

impl Health {
    pub(crate) fn add_capture(
        &mut self,
        name: String,
        drops: Option<Drops>,
        lines: Option<Arc<LineCounters>>,
    ) -> (usize, Arc<AtomicU64>) {
        let received = Arc::new(AtomicU64::new(0));
        self.captures.push(CaptureHealth {
            name,
            received: Arc::clone(&received),
            drops,
            lines,
            restarts: 0,
            lost: None,
        });
        (self.captures.len().saturating_sub(1), received)
    }

    /// The capture with this number stopped listening, and why; or listens again.
    pub(crate) fn set_lost(&mut self, number: usize, lost: Option<String>) {
        if let Some(capture) = self.captures.get_mut(number) {
            capture.lost = lost;
        }
    }

    /// The state of the log sensor, as the monitor reports it.
    pub(crate) fn follow_log(&mut self, lost: Option<String>, restarts: u64) {
        let mut captures = self.captures.iter_mut();
        if let Some(capture) = captures.find(|capture| capture.lines.is_some()) {
            (capture.lost, capture.restarts) = (lost, restarts);
        }
    }

    pub(crate) fn stored(&mut self, now: Timestamp, marks: usize, took: Duration) {
        let store = &mut self.store;
        store.commits = store.commits.saturating_add(1);
        store.marks = store.marks.saturating_add(marks as u64);
        store.largest_group = store.largest_group.max(marks);
        store.last = Some(now);
        store.last_took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    }

    pub(crate) fn read_drops(&mut self) {
        let captures = self.captures.iter_mut();
        for drops in captures.filter_map(|capture| capture.drops.as_mut()) {
            drops.count();
        }
    }

    pub(crate) fn captures(&mut self) -> Vec<CaptureStatus> {
        let status = |capture: &mut CaptureHealth| {
            let lines = capture.lines.as_ref();
            let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            let lost_lines = lines.map(|lines| count(&lines.lost));
            CaptureStatus {
                name: capture.name.clone(),
                listening: capture.lost.is_none(),
                why: capture.lost.clone(),
                received: count(&capture.received),
                dropped: lost_lines.or_else(|| capture.drops.as_mut().and_then(Drops::count)),
                malformed: lines.map(|lines| count(&lines.malformed)),
                restarts: lines.map(|_| capture.restarts),
            }
        };
        self.captures.iter_mut().map(status).collect()
    }

    /// The same for the metrics.
    pub(crate) fn capture_counters(&mut self) -> Vec<CaptureCounters> {
        let counters = |capture: CaptureStatus| CaptureCounters {
            listening: capture.listening,
            received: capture.received,
            dropped: capture.dropped,
        };
        self.captures().into_iter().map(counters).collect()
    }

    /// The gate's counters, with what the kernel dropped for the same reasons.
    pub(crate) fn with_kernel(&self, counters: &ReasonCounters) -> ReasonCounters {
        let mut all = counters.clone();
        let kernel = self.kernel.as_ref();
        let dropped = kernel.and_then(|kernel| kernel.count().ok());
        let dropped = dropped.unwrap_or_default();
        all.add(Reason::Drop(Drop::Length), dropped.length);
        all.add(Reason::Drop(Drop::UnknownHint), dropped.unknown_hint);
        all.add(Reason::Drop(Drop::Duplicate), dropped.duplicate);
        all.add(Reason::Drop(Drop::Replay), dropped.replay);
        all
    }

    /// Copies of a packet that can open nothing more need not reach the engine.
    pub(crate) fn follow(&mut self, packet: &Datagram, decision: &Decision) {
        if let Some(used) = &mut self.used {
            match decision {
                Decision::Admit(_) | Decision::Refuse(_) => used.used_now(packet.payload()),
                Decision::Drop(Drop::Replay) => used.used_before(packet.payload()),
                Decision::Drop(_) => {}
            }
        }
    }

    /// Tells the kernel of used packets. An admitted knock does not wait for it.
    pub(crate) fn tell_kernel(&mut self) {
        self.used
            .iter_mut()
            .for_each(hint_filter::UsedPackets::tell_kernel);
    }

    pub(crate) fn store(&self) -> StoreStatus {
        self.store.clone()
    }
}
