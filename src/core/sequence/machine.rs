//! What a packet does to the attempt of its source.

use std::net::IpAddr;
use std::time::Duration;

use postern_proto::Protocol;

use super::attempts::{Attempt, Attempts, SOURCES_MAX};
use super::definition::{Expected, Flags, HITS_MAX, Sequence, SequenceId};
use super::hit::Hit;
use super::tree::{Conflict, ROOT, Tree};
use super::watched::Watched;
use crate::model::time::Timestamp;

/// Within this time the same packet counts once.
const COPY_WITHIN: Duration = Duration::from_secs(3);

/// What a packet did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// It is to a port of no sequence.
    Unwatched,
    /// It neither counts nor breaks: its TCP flags do not fit, or it is a copy or a repeat of a hit that matched.
    Ignored,
    /// It is not the next hit, and no first hit. An attempt of its source is over.
    Wrong,
    /// It is a first hit. An older attempt of its source is over.
    Started,
    /// It is the next hit.
    Advanced,
    /// It is the last hit.
    Completed(Completion),
}

/// A source has made every hit of a sequence, in order and in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completion {
    pub id: SequenceId,
    pub source: IpAddr,
    offsets: [u8; HITS_MAX],
    hits: usize,
}

impl Completion {
    /// How far the port of each hit is from the first port that the hit can have.
    pub fn offsets(&self) -> &[u8] {
        self.offsets.get(..self.hits).unwrap_or(&self.offsets)
    }
}

/// How far a source is, for an explanation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// How many hits have matched.
    pub hits: usize,
    pub began: Timestamp,
    pub timeout: Duration,
    pub flags: Flags,
    /// What can come next.
    pub next: Vec<Expected>,
    /// Some of the sequences that it can become, each with how many hits it has.
    pub sequences: Vec<(SequenceId, usize)>,
}

/// An explanation names at most this many sequences.
const NAMED: usize = 8;

/// Sequences, and how far each source is.
#[derive(Debug)]
pub struct Machine {
    watched: Watched,
    tree: Tree,
    attempts: Attempts,
}

impl Machine {
    /// A machine that looks at packets to these ports only. For a keyed sequence watch all ports that it can have:
    /// otherwise a scan of them, repeated, makes every hit, and nothing breaks the attempt.
    pub fn new(watched: impl IntoIterator<Item = Expected>) -> Self {
        Self {
            watched: Watched::new(watched),
            tree: Tree::new(),
            attempts: Attempts::new(SOURCES_MAX),
        }
    }

    /// Adds a sequence. Attempts in progress go on.
    pub fn insert(&mut self, id: SequenceId, sequence: &Sequence) -> Result<(), Conflict> {
        let hits = sequence.hits();
        if !hits.iter().all(|hit| self.watched.contains_all(*hit)) {
            return Err(Conflict::Unwatched(id));
        }
        self.tree.insert(id, sequence)
    }

    /// Removes a sequence. Attempts at others go on.
    pub fn remove(&mut self, id: SequenceId) {
        self.tree.remove(id);
    }

    /// How many sources are remembered.
    pub fn sources(&self) -> usize {
        self.attempts.len()
    }

    /// Whether a packet to this port is looked at.
    pub fn is_watched(&self, hit: &Hit) -> bool {
        self.watched.contains(hit.protocol, hit.port)
    }

    /// How far a source is; `None` if it has no attempt in progress.
    pub fn progress(&self, source: IpAddr) -> Option<Progress> {
        let attempt = self.attempts.get(source)?;
        let node = self.tree.node(attempt.node);
        let node = node.filter(|_| attempt.node != ROOT)?;
        Some(Progress {
            hits: attempt.hits,
            began: attempt.started,
            timeout: node.timeout,
            flags: node.flags,
            next: self.tree.expected(attempt.node),
            sequences: self.tree.through(attempt.node, NAMED),
        })
    }

    /// Takes a packet.
    pub fn hit(&mut self, now: Timestamp, hit: &Hit) -> Outcome {
        if !self.is_watched(hit) {
            return Outcome::Unwatched;
        }
        match self.attempts.get(hit.source).copied() {
            Some(attempt) => self.go_on(now, hit, attempt),
            None => self.start(now, hit, None),
        }
    }

    /// A hit of a source that has an attempt.
    fn go_on(&mut self, now: Timestamp, hit: &Hit, mut attempt: Attempt) -> Outcome {
        let age = attempt.age_of_original(now, hit);
        let is_copy = age.is_some_and(|age| age <= COPY_WITHIN);
        // Only a copy has the same number, too. A new datagram may have the source port of an old one.
        let is_numbered = hit.tcp.is_some_and(|tcp| tcp.sequence.is_some());
        if attempt.node == ROOT {
            let first = self.tree.next(ROOT, hit.protocol.number(), hit.port);
            let may_be_new = !is_numbered && attempt.hits > 1 && first.is_some();
            return if is_copy && !may_be_new {
                Outcome::Ignored
            } else {
                self.start(now, hit, Some(attempt))
            };
        }
        let elapsed = now.since(attempt.started);
        let may_be_new = !is_numbered && age.is_some_and(|age| age > elapsed);
        if is_copy && !may_be_new {
            return Outcome::Ignored;
        }
        let here = self.tree.node(attempt.node);
        let Some(here) = here.filter(|here| elapsed <= here.timeout) else {
            self.attempts.remove(hit.source);
            return self.start(now, hit, None);
        };
        if !fits(here.flags, hit) {
            return Outcome::Ignored;
        }
        let numbered_copy = age.is_some() && is_numbered;
        let next = self
            .tree
            .next(attempt.node, hit.protocol.number(), hit.port);
        if let Some(next) = next
            && elapsed <= next.node.timeout
        {
            // Where every port fits, a late retransmission would fit, too.
            if next.several && numbered_copy {
                return Outcome::Ignored;
            }
            let end = next.node.end;
            attempt.matched(now, hit, next.id, next.offset);
            return self.advanced(hit, attempt, end);
        }
        if attempt.repeats(hit) {
            if attempt.hits == 1 {
                // Begun again: the time counts from here.
                return self.start(now, hit, Some(attempt));
            }
            attempt.remember(now, hit);
            self.attempts.put(hit.source, attempt);
            return Outcome::Ignored;
        }
        if is_copy || numbered_copy {
            return Outcome::Ignored;
        }
        self.attempts.remove(hit.source);
        self.start(now, hit, None)
    }

    /// A hit of a source that has no attempt, or one that is complete or begins again, whose copies it still knows.
    fn start(&mut self, now: Timestamp, hit: &Hit, known: Option<Attempt>) -> Outcome {
        let Some(next) = self.tree.next(ROOT, hit.protocol.number(), hit.port) else {
            return Outcome::Wrong;
        };
        if !fits(next.node.flags, hit) {
            return Outcome::Ignored;
        }
        let end = next.node.end;
        let mut attempt = known.unwrap_or_else(|| Attempt::new(now));
        attempt.started = now;
        attempt.hits = 0;
        attempt.matched(now, hit, next.id, next.offset);
        match self.advanced(hit, attempt, end) {
            Outcome::Advanced => Outcome::Started,
            other => other,
        }
    }

    fn advanced(&mut self, hit: &Hit, mut attempt: Attempt, end: Option<SequenceId>) -> Outcome {
        let outcome = match end {
            Some(id) => Outcome::Completed(Completion {
                id,
                source: hit.source,
                offsets: attempt.offsets,
                hits: attempt.hits,
            }),
            None => Outcome::Advanced,
        };
        if end.is_some() {
            attempt.node = ROOT;
        }
        self.attempts.put(hit.source, attempt);
        outcome
    }

    #[cfg(test)]
    pub(super) fn slots_and_nodes(&self) -> (usize, usize) {
        (self.attempts.slots(), self.tree.len())
    }
}

/// Flags that are not known fit only if none are asked for.
pub fn fits(flags: Flags, hit: &Hit) -> bool {
    match (hit.protocol, hit.tcp) {
        (Protocol::Tcp, Some(tcp)) => flags.fit(tcp.flags),
        (Protocol::Tcp, None) => flags == Flags::default(),
        _ => true,
    }
}
