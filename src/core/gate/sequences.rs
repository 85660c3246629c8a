//! Users who knock with a port sequence: whose sequence is complete, and may it open?
//!
//! Hits come from anyone and are not authenticated. Only a complete sequence says whose it is.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use postern_proto::Protocol;
use postern_sequence::{Key, Shape};

use crate::core::sequence::{
    Completion, Expected, Flags, Hit, Machine, Outcome, Sequence, SequenceId,
};
use crate::model::time::Timestamp;

/// A user who knocks with a sequence.
#[derive(Debug)]
pub struct SequenceUser {
    /// The user's index among the gate's users.
    pub user: usize,
    pub kind: SequenceKind,
}

#[derive(Debug)]
pub enum SequenceKind {
    /// The same ports each time.
    Plain(Sequence),
    /// The ports follow from a key and the time.
    Keyed {
        key: Key,
        shape: Shape,
        protocol: Protocol,
        timeout: Duration,
        flags: Flags,
    },
}

/// The sequences of all users, and how far each source is.
#[derive(Debug, Default)]
pub(super) struct Sequences {
    users: Vec<SequenceUser>,
    /// `None` if there are no users.
    machine: Option<Machine>,
    entries: HashMap<SequenceId, Entry>,
    last: u64,
    /// The steps whose keyed sequences are in the machine.
    steps: Option<RangeInclusive<u64>>,
}

/// Whose sequence it is, and for a keyed one the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    row: usize,
    step: Option<u64>,
}

impl SequenceKind {
    /// All ports that it can hit.
    pub fn ports(&self) -> Vec<Expected> {
        match self {
            Self::Plain(sequence) => sequence.hits().to_vec(),
            Self::Keyed {
                shape, protocol, ..
            } => vec![Expected {
                protocol: *protocol,
                first: shape.first(),
                last: shape.last(),
            }],
        }
    }

    pub fn flags(&self) -> Flags {
        match self {
            Self::Plain(sequence) => sequence.flags(),
            Self::Keyed { flags, .. } => *flags,
        }
    }

    /// Its sequence in this step, for a keyed one.
    fn of_step(&self, step: u64) -> Option<Sequence> {
        let Self::Keyed {
            key,
            shape,
            protocol,
            timeout,
            flags,
        } = self
        else {
            return None;
        };
        let ports = postern_sequence::ports(key, step, *shape);
        let hits = ports.into_iter();
        let hits = hits.map(|port| Expected::port(*protocol, port)).collect();
        Sequence::new(hits, *timeout, *flags).ok()
    }
}

impl Sequences {
    pub(super) fn new(users: Vec<SequenceUser>) -> Self {
        let ports = users.iter().flat_map(|user| user.kind.ports());
        let mut all = Self {
            machine: (!users.is_empty()).then(|| Machine::new(ports)),
            users,
            ..Self::default()
        };
        for row in 0..all.users.len() {
            let kind = all.users.get(row).map(|user| &user.kind);
            if let Some(SequenceKind::Plain(sequence)) = kind {
                let sequence = sequence.clone();
                all.insert(Entry { row, step: None }, &sequence);
            }
        }
        all
    }

    /// The config refuses sequences that collide. Keyed ones can collide by chance; then the first counts.
    fn insert(&mut self, entry: Entry, sequence: &Sequence) {
        self.last = self.last.saturating_add(1);
        let id = SequenceId(self.last);
        let machine = self.machine.as_mut();
        if machine.is_some_and(|machine| machine.insert(id, sequence).is_ok()) {
            self.entries.insert(id, entry);
        }
    }

    /// Takes a packet to a port of a sequence.
    pub(super) fn hit(&mut self, now: Timestamp, hit: &Hit) -> Outcome {
        self.renew(now);
        let machine = self.machine.as_mut();
        machine.map_or(Outcome::Unwatched, |machine| machine.hit(now, hit))
    }

    /// The user whose sequence is complete, and its step if it is keyed.
    pub(super) fn find(&self, completion: &Completion) -> Option<(usize, Option<u64>)> {
        let entry = self.entries.get(&completion.id)?;
        Some((self.users.get(entry.row)?.user, entry.step))
    }

    /// Follows the time: the keyed sequences of the step before, of this one and of the next one count.
    fn renew(&mut self, now: Timestamp) {
        let step = postern_sequence::step_at(now.as_millis() / 1000);
        let wanted = step.saturating_sub(1)..=step.saturating_add(1);
        if self.steps.as_ref() == Some(&wanted) {
            return;
        }
        let is_over = |entry: &Entry| entry.step.is_some_and(|step| !wanted.contains(&step));
        let over = self.entries.iter().filter(|(_, entry)| is_over(entry));
        let over: Vec<SequenceId> = over.map(|(id, _)| *id).collect();
        for id in over {
            self.entries.remove(&id);
            self.machine
                .iter_mut()
                .for_each(|machine| machine.remove(id));
        }
        let known = self.steps.replace(wanted.clone());
        for row in 0..self.users.len() {
            for step in wanted.clone() {
                let is_known = known.as_ref().is_some_and(|known| known.contains(&step));
                let kind = self.users.get(row).map(|user| &user.kind);
                let sequence = kind
                    .filter(|_| !is_known)
                    .and_then(|kind| kind.of_step(step));
                if let Some(sequence) = sequence {
                    let step = Some(step);
                    self.insert(Entry { row, step }, &sequence);
                }
            }
        }
    }
}
