//! The attempts in progress: one for each source, at most 65,536. For one more, the one whose last hit is oldest is dropped.

use std::collections::HashMap;
use std::net::IpAddr;

use postern_proto::Protocol;

use super::definition::HITS_MAX;
use super::hit::Hit;
use super::tree::{NodeId, ROOT};
use crate::model::time::Timestamp;

/// The most sources that are remembered.
pub const SOURCES_MAX: usize = 65_536;
/// How many hits an attempt remembers, to know copies of them.
const RECENT: usize = 8;
const NONE: u32 = u32::MAX;

/// How far a source is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    pub(super) node: NodeId,
    pub(super) started: Timestamp,
    /// How many hits have matched, and how far the port of each is from its first.
    pub(super) hits: usize,
    pub(super) offsets: [u8; HITS_MAX],
    recent: [Option<Seen>; RECENT],
}

/// A hit that matched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) at: Timestamp,
    pub(super) protocol: Protocol,
    pub(super) port: u16,
    source_port: u16,
    tcp_sequence: Option<u32>,
}

impl Attempt {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            node: ROOT,
            started: now,
            hits: 0,
            offsets: [0; HITS_MAX],
            recent: [None; RECENT],
        }
    }

    pub(super) fn matched(&mut self, now: Timestamp, hit: &Hit, node: NodeId, offset: u8) {
        if let Some(place) = self.offsets.get_mut(self.hits) {
            *place = offset;
        }
        self.hits += 1;
        self.node = node;
        self.recent.rotate_right(1);
        if let Some(newest) = self.recent.first_mut() {
            *newest = Some(Seen {
                at: now,
                protocol: hit.protocol,
                port: hit.port,
                source_port: hit.source_port,
                tcp_sequence: hit.tcp.and_then(|tcp| tcp.sequence),
            });
        }
    }

    /// The hit that matched last.
    pub(super) fn latest(&self) -> Option<&Seen> {
        self.recent.first()?.as_ref()
    }

    /// The matched hit that this packet is a copy of, as far as it is known.
    pub(super) fn original(&self, hit: &Hit) -> Option<&Seen> {
        self.recent.iter().flatten().find(|seen| {
            seen.protocol == hit.protocol
                && seen.port == hit.port
                && seen.source_port == hit.source_port
                && seen.tcp_sequence == hit.tcp.and_then(|tcp| tcp.sequence)
        })
    }
}

impl Seen {
    /// Whether the packet has a number that only a copy has, too.
    pub(super) fn is_numbered(&self) -> bool {
        self.tcp_sequence.is_some()
    }
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
