//! The attempts in progress: one for each source, at most 65,536. For one more, the one whose last hit is oldest is dropped.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::Duration;

use postern_proto::Protocol;

use super::definition::HITS_MAX;
use super::hit::Hit;
use super::tree::{NodeId, ROOT};
use crate::model::time::Timestamp;

/// The most sources that are remembered.
pub const SOURCES_MAX: usize = 65_536;
/// How many packets an attempt remembers, to know copies of them. A retransmission may come after many other hits.
const RECENT: usize = 32;
const NONE: u32 = u32::MAX;

/// How far a source is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    pub(super) node: NodeId,
    pub(super) started: Timestamp,
    /// How many hits have matched, and how far the port of each is from its first.
    pub(super) hits: usize,
    pub(super) offsets: [u8; HITS_MAX],
    /// The protocol and the port of the latest hit.
    latest: Option<(Protocol, u16)>,
    recent: [Seen; RECENT],
    /// How many packets it has seen, modulo the size of `recent`.
    seen: usize,
}

/// A packet that matched, or repeated one that did. Short, because there are many.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// Of what only a copy has in common with it; 0 is no packet.
    digest: u32,
    /// The low bits of its time in ms.
    at_ms: u32,
}

impl Attempt {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            node: ROOT,
            started: now,
            hits: 0,
            offsets: [0; HITS_MAX],
            latest: None,
            recent: [Seen::default(); RECENT],
            seen: 0,
        }
    }

    pub(super) fn matched(&mut self, now: Timestamp, hit: &Hit, node: NodeId, offset: u8) {
        if let Some(place) = self.offsets.get_mut(self.hits) {
            *place = offset;
        }
        self.hits += 1;
        self.node = node;
        self.latest = Some((hit.protocol, hit.port));
        self.remember(now, hit);
    }

    /// Knows copies of this packet from now on.
    pub(super) fn remember(&mut self, now: Timestamp, hit: &Hit) {
        if let Some(place) = self.recent.get_mut(self.seen) {
            *place = Seen {
                digest: digest(hit),
                at_ms: low_bits(now.as_millis()),
            };
        }
        self.seen = (self.seen + 1) % RECENT;
    }

    /// Whether the packet goes where the hit that matched last went.
    pub(super) fn repeats(&self, hit: &Hit) -> bool {
        self.latest == Some((hit.protocol, hit.port))
    }

    /// How old the latest packet is that this one is a copy of, as far as it is known.
    pub(super) fn age_of_original(&self, now: Timestamp, hit: &Hit) -> Option<Duration> {
        let digest = digest(hit);
        let alike = self.recent.iter().filter(|seen| seen.digest == digest);
        let now_ms = low_bits(now.as_millis());
        let age_ms = alike.map(|seen| now_ms.wrapping_sub(seen.at_ms)).min()?;
        Some(Duration::from_millis(u64::from(age_ms)))
    }
}

fn digest(hit: &Hit) -> u32 {
    let mut hasher = DefaultHasher::new();
    let sequence = hit.tcp.and_then(|tcp| tcp.sequence);
    (hit.protocol.number(), hit.port, hit.source_port, sequence).hash(&mut hasher);
    low_bits(hasher.finish()).max(1)
}

fn low_bits(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or_default()
}

/// A list through `slots` in the order of the last hits, and where each source is in it.
#[derive(Debug)]
pub(super) struct Attempts {
    slots: Vec<Slot>,
    by_source: HashMap<IpAddr, u32>,
    oldest: u32,
    newest: u32,
    /// The first of the unused slots, which are linked by `newer`.
    free: u32,
    max: usize,
}

#[derive(Debug)]
struct Slot {
    source: IpAddr,
    attempt: Attempt,
    older: u32,
    newer: u32,
}

impl Attempts {
    pub(super) fn new(max: usize) -> Self {
        Self {
            slots: Vec::new(),
            by_source: HashMap::new(),
            oldest: NONE,
            newest: NONE,
            free: NONE,
            max,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_source.len()
    }

    #[cfg(test)]
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn get(&self, source: IpAddr) -> Option<&Attempt> {
        let at = self.by_source.get(&source)?;
        Some(&self.slots.get(*at as usize)?.attempt)
    }

    /// Puts a source's attempt in place of the one that it had, as the newest.
    pub(super) fn put(&mut self, source: IpAddr, attempt: Attempt) {
        self.remove(source);
        if self.by_source.len() >= self.max
            && let Some(slot) = self.slots.get(self.oldest as usize)
        {
            self.remove(slot.source);
        }
        let slot = Slot {
            source,
            attempt,
            older: self.newest,
            newer: NONE,
        };
        let at = self.free;
        let at = if let Some(unused) = self.slots.get_mut(at as usize) {
            self.free = unused.newer;
            *unused = slot;
            at
        } else {
            let Ok(at) = u32::try_from(self.slots.len()) else {
                return;
            };
            self.slots.push(slot);
            at
        };
        match self.slots.get_mut(self.newest as usize) {
            Some(newest) => newest.newer = at,
            None => self.oldest = at,
        }
        self.newest = at;
        self.by_source.insert(source, at);
    }

    pub(super) fn remove(&mut self, source: IpAddr) {
        let Some(at) = self.by_source.remove(&source) else {
            return;
        };
        let Some(slot) = self.slots.get_mut(at as usize) else {
            return;
        };
        let (older, newer) = (slot.older, slot.newer);
        slot.newer = self.free;
        self.free = at;
        match self.slots.get_mut(older as usize) {
            Some(older) => older.newer = newer,
            None => self.oldest = newer,
        }
        match self.slots.get_mut(newer as usize) {
            Some(newer) => newer.older = older,
            None => self.newest = older,
        }
    }
}
