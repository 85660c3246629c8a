//! What this gate has to say: closes until they come back, heartbeats, and the wish to watch.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::core::claims::{Ask, Publish, PublishKind};
use crate::model::time::{Timestamp, millis};

/// How often a gate shows that it is there.
pub const BEAT: Duration = Duration::from_secs(2);

/// A heartbeat that has not come back for so long shows that the watch is broken.
const MISSED: Duration = Duration::from_secs(6);

/// A close that has not come back is published again.
const AGAIN: Duration = Duration::from_secs(4);

/// A gate that ends waits so long for its closes to come back.
const LAST: Duration = Duration::from_secs(2);

const CLOSES_MAX: usize = 2048;

/// Closes that have not come back. More would fill the link to the cluster process, which refuses knocks then.
const ON_THE_WAY: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Outbox {
    is_connected: bool,
    wants_watch: bool,
    /// The cluster process did not take it.
    untaken: Option<Ask>,
    /// The last sign that the watch works, or the last wish for one.
    heard: Timestamp,
    last_beat: Option<Timestamp>,
    /// By number.
    closes: BTreeMap<u64, Close>,
}

#[derive(Debug)]
struct Close {
    publish: Publish,
    queued: Timestamp,
    sent: Option<Timestamp>,
    until: Timestamp,
}

/// What is to be said next.
pub(super) enum Next {
    Ask(Ask),
    Beat,
}

impl Outbox {
    /// There is a cluster process, which watches nothing yet.
    pub(super) fn connected(&mut self, now: Timestamp) {
        (self.is_connected, self.wants_watch, self.heard) = (true, true, now);
        self.last_beat = None;
        for close in self.closes.values_mut() {
            close.sent = None;
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.is_connected
    }

    pub(super) fn lost(&mut self) {
        self.is_connected = false;
    }

    /// A gate that ends does not wait for a close that it publishes again: `at` is long ago.
    pub(super) fn close(&mut self, now: Timestamp, at: Timestamp, number: u64, publish: Publish) {
        if self.closes.len() >= CLOSES_MAX {
            // It ends by itself, and this gate has closed it.
            self.closes.pop_first();
        }
        let until = now.plus(Duration::from_millis(publish.lasts_ms));
        let close = Close {
            publish,
            queued: at.min(now),
            sent: None,
            until,
        };
        self.closes.insert(number, close);
    }

    pub(super) fn forget_closes(&mut self) {
        self.closes.clear();
    }

    /// Whether a close would go at once.
    pub(super) fn has_room(&self) -> bool {
        self.is_connected && self.closes.len() < ON_THE_WAY
    }

    /// This gate's own publication has come back.
    pub(super) fn echoed(&mut self, number: u64) {
        self.closes.remove(&number);
    }

    /// A heartbeat of this gate has come back.
    pub(super) fn heard(&mut self, now: Timestamp) {
        self.heard = now;
    }

    /// Claims are not asked again, and another heartbeat follows.
    pub(super) fn not_asked(&mut self, ask: &Ask) {
        let is_kept = match ask {
            Ask::Claim { .. } | Ask::Probe { .. } => false,
            Ask::Publish(publish) => publish.kind != PublishKind::Heartbeat,
            Ask::Watch | Ask::LookForRoster => true,
        };
        if is_kept {
            self.untaken = Some(ask.clone());
        }
    }

    pub(super) fn next(&mut self, now: Timestamp) -> Option<Next> {
        if !self.is_connected {
            return None;
        }
        if let Some(ask) = self.untaken.take() {
            return Some(Next::Ask(ask));
        }
        if is_over(self.heard, now, MISSED) {
            (self.wants_watch, self.heard) = (true, now);
        }
        if std::mem::take(&mut self.wants_watch) {
            return Some(Next::Ask(Ask::Watch));
        }
        self.closes.retain(|_, close| now < close.until);
        let is_due = |close: &Close| close.sent.is_none_or(|sent| is_over(sent, now, AGAIN));
        let closes = self.closes.values();
        let has_room = closes.filter(|close| !is_due(close)).count() < ON_THE_WAY;
        let mut closes = self.closes.values_mut().filter(|_| has_room);
        if let Some(close) = closes.find(|close| is_due(close)) {
            close.sent = Some(now);
            let mut publish = close.publish.clone();
            publish.lasts_ms = millis(close.until.since(now));
            return Some(Next::Ask(Ask::Publish(publish)));
        }
        let is_due = self.last_beat.is_none_or(|last| is_over(last, now, BEAT));
        is_due.then(|| {
            self.last_beat = Some(now);
            Next::Beat
        })
    }

    /// How long until something is to be said.
    pub(super) fn due(&self, now: Timestamp) -> Option<Duration> {
        let last = self.last_beat.filter(|_| self.is_connected)?;
        Some(BEAT.saturating_sub(now.since(last)))
    }

    pub(super) fn is_idle(&self, now: Timestamp) -> bool {
        let mut closes = self.closes.values();
        !self.is_connected || closes.all(|close| is_over(close.queued, now, LAST))
    }
}

/// Also if the clock was set back.
fn is_over(since: Timestamp, now: Timestamp, length: Duration) -> bool {
    now < since || now.since(since) >= length
}
