//! Users who knock with a port sequence: which sequences count now, and whose sequence is complete?
//!
//! Hits come from anyone and are not authenticated. Only a complete sequence says whose it is.

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::time::Duration;

use postern_fwknop::limits::MAGIC;
use postern_fwknop::sequence::{HITS, Key as EncryptedKey};
use postern_proto::{Mark, Protocol};
use postern_sequence::{Key, Shape};
use sha2::{Digest, Sha256};

use crate::core::sequence::{
    Completion, Expected, Flags, Hit, Machine, Outcome, Sequence, SequenceId,
};
use crate::model::mark::RunRecord;
use crate::model::time::Timestamp;

/// Used encrypted sequences of one user. They are remembered for ever, so one more is refused.
const ENCRYPTED_MAX: usize = 4096;

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
    /// Each works once, in this order.
    OneTime(Vec<Sequence>),
    /// The ports carry an encrypted request, as in fwknop 1.9 (fwknop/README.md, section 4).
    Encrypted {
        key: EncryptedKey,
        offset: u16,
        timeout: Duration,
        flags: Flags,
    },
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
    owners: HashMap<SequenceId, Owner>,
    /// Runs that never open again, by user.
    used: BTreeSet<(usize, Mark)>,
    last: u64,
    /// How many sequences were complete. Tells two of one source in the same millisecond apart.
    pub(super) completed: u64,
    /// The steps whose keyed sequences are in the machine.
    steps: Option<RangeInclusive<u64>>,
}

/// Whose sequence it is, and for a keyed one the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner {
    /// Its place in `Sequences::users`, which is not the user's number.
    row: usize,
    step: Option<u64>,
    /// Which of the user's one-time sequences it is.
    line: usize,
}

/// Whose sequence is complete, by the number of the user.
#[derive(Debug, Clone, Copy)]
pub(super) enum Found {
    Plain(usize),
    OneTime(usize, Mark),
    Keyed(usize, u64),
    /// Of one of the users with this offset.
    Encrypted(u16, [u8; HITS]),
}

impl Owner {
    fn of(row: usize) -> Self {
        Self {
            row,
            step: None,
            line: 0,
        }
    }
}

/// The mark of a one-time sequence.
fn line_mark(sequence: &Sequence) -> Mark {
    let mut hash = Sha256::new();
    for hit in sequence.hits() {
        hash.update([hit.protocol.number()]);
        hash.update(hit.first.to_be_bytes());
    }
    Mark::of(hash.finalize().into())
}

fn encrypted_range(protocol: Protocol, offset: u16) -> Expected {
    Expected {
        protocol,
        first: offset,
        last: offset.saturating_add(255),
    }
}

/// The hits of any encrypted sequence: the first eight are the same in all. Every second one has the protocol `second`.
fn encrypted(offset: u16, second: Protocol, timeout: Duration, flags: Flags) -> Option<Sequence> {
    let protocols = [Protocol::Tcp, second].into_iter().cycle();
    let hits = protocols.take(HITS).enumerate();
    let hits = hits.map(|(at, protocol)| match MAGIC.get(at) {
        Some(byte) => Expected::port(protocol, offset.saturating_add(u16::from(*byte))),
        None => encrypted_range(protocol, offset),
    });
    Sequence::new(hits.collect(), timeout, flags).ok()
}

impl SequenceKind {
    /// All ports that it can hit.
    pub fn ports(&self) -> Vec<Expected> {
        match self {
            Self::Plain(sequence) => sequence.hits().to_vec(),
            Self::OneTime(all) => {
                let hits = all.iter().flat_map(|one| one.hits().iter().copied());
                hits.collect()
            }
            Self::Encrypted { offset, .. } => [Protocol::Tcp, Protocol::Udp]
                .map(|protocol| encrypted_range(protocol, *offset))
                .to_vec(),
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
            Self::OneTime(all) => all.first().map_or(Flags::default(), Sequence::flags),
            Self::Encrypted { flags, .. } | Self::Keyed { flags, .. } => *flags,
        }
    }

    /// The sequences that are the same at all times. Those of an encrypted one are of TCP, or of TCP and UDP in turn.
    pub fn fixed(&self) -> Vec<Sequence> {
        match self {
            Self::Plain(sequence) => vec![sequence.clone()],
            Self::OneTime(all) => all.clone(),
            Self::Encrypted {
                offset,
                timeout,
                flags,
                ..
            } => [Protocol::Tcp, Protocol::Udp]
                .into_iter()
                .filter_map(|second| encrypted(*offset, second, *timeout, *flags))
                .collect(),
            Self::Keyed { .. } => Vec::new(),
        }
    }

    /// Its sequence in this step, for a keyed one.
    pub(super) fn of_step(&self, step: u64) -> Option<Sequence> {
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
            let Some(user) = all.users.get(row) else {
                continue;
            };
            if !matches!(user.kind, SequenceKind::OneTime(_)) {
                for sequence in user.kind.fixed() {
                    all.insert(Owner::of(row), &sequence);
                }
            }
        }
        all.recall(|_| None, Vec::new());
        all
    }

    /// The config refuses sequences that collide. Keyed ones can collide by chance; then the first counts.
    fn insert(&mut self, owner: Owner, sequence: &Sequence) {
        self.last = self.last.saturating_add(1);
        let id = SequenceId(self.last);
        let machine = self.machine.as_mut();
        if machine.is_some_and(|machine| machine.insert(id, sequence).is_ok()) {
            self.owners.insert(id, owner);
        }
    }

    /// Takes what the store kept, and lets each user's next one-time sequence count. `numbers` are those of the users.
    pub(super) fn recall(&mut self, numbers: impl Fn(&str) -> Option<usize>, runs: Vec<RunRecord>) {
        for run in runs {
            let number = numbers(&run.user);
            self.used.extend(number.map(|number| (number, run.mark)));
        }
        for row in 0..self.users.len() {
            self.next_line(row);
        }
    }

    /// Lets the user's first unused one-time sequence count, and no other.
    fn next_line(&mut self, row: usize) {
        let is_line = |owner: &&Owner| owner.row == row;
        let Some(user) = self.users.get(row) else {
            return;
        };
        let SequenceKind::OneTime(lines) = &user.kind else {
            return;
        };
        let unused = |(_, line): &(usize, &Sequence)| {
            let key = (user.user, line_mark(line));
            !self.used.contains(&key)
        };
        let next = lines.iter().enumerate().find(unused);
        let next = next.map(|(line, sequence)| (line, sequence.clone()));
        let known = self.owners.iter().find(|(_, owner)| is_line(owner));
        let known = known.map(|(id, owner)| (*id, owner.line));
        if known.map(|(_, line)| line) == next.as_ref().map(|(line, _)| *line) {
            return;
        }
        if let Some((id, _)) = known {
            self.owners.remove(&id);
            self.machine
                .iter_mut()
                .for_each(|machine| machine.remove(id));
        }
        if let Some((line, sequence)) = next {
            let owner = Owner {
                line,
                ..Owner::of(row)
            };
            self.insert(owner, &sequence);
        }
    }

    /// Whether this run of a user was used before.
    pub(super) fn is_used(&self, user: usize, mark: Mark) -> bool {
        self.used.contains(&(user, mark))
    }

    /// Whether one more encrypted sequence of the user can be remembered. One-time sequences are as many as root writes.
    pub(super) fn has_room(&self, user: usize) -> bool {
        let first = (user, Mark([0; 16]));
        let last = (user, Mark([u8::MAX; 16]));
        self.used.range(first..=last).count() < ENCRYPTED_MAX
    }

    /// Remembers a run for ever.
    pub(super) fn remember_run(&mut self, user: usize, mark: Mark) {
        self.used.insert((user, mark));
        for row in 0..self.users.len() {
            self.next_line(row);
        }
    }

    /// The users who have an encrypted sequence with this offset.
    pub(super) fn encrypted(&self, offset: u16) -> impl Iterator<Item = (usize, &EncryptedKey)> {
        self.users.iter().filter_map(move |user| match &user.kind {
            SequenceKind::Encrypted {
                key, offset: own, ..
            } if *own == offset => Some((user.user, key)),
            _ => None,
        })
    }

    pub(super) fn users(&self) -> &[SequenceUser] {
        &self.users
    }

    pub(super) fn machine(&self) -> Option<&Machine> {
        self.machine.as_ref()
    }

    /// The number of the user whose sequence it is.
    pub(super) fn owner(&self, id: SequenceId) -> Option<usize> {
        let owner = self.owners.get(&id)?;
        Some(self.users.get(owner.row)?.user)
    }

    /// Takes a packet to a port of a sequence.
    pub(super) fn hit(&mut self, now: Timestamp, hit: &Hit) -> Outcome {
        self.renew(now);
        let machine = self.machine.as_mut();
        let outcome = machine.map_or(Outcome::Unwatched, |machine| machine.hit(now, hit));
        if matches!(outcome, Outcome::Completed(_)) {
            self.completed = self.completed.wrapping_add(1);
        }
        outcome
    }

    /// Whose sequence is complete, and which.
    pub(super) fn find(&self, completion: &Completion) -> Option<Found> {
        let owner = self.owners.get(&completion.id)?;
        let user = self.users.get(owner.row)?;
        let number = user.user;
        Some(match &user.kind {
            SequenceKind::Plain(_) => Found::Plain(number),
            SequenceKind::OneTime(lines) => {
                Found::OneTime(number, line_mark(lines.get(owner.line)?))
            }
            SequenceKind::Keyed { .. } => Found::Keyed(number, owner.step?),
            SequenceKind::Encrypted { offset, .. } => {
                let offsets: &[u8; HITS] = completion.offsets().try_into().ok()?;
                let mut run = *offsets;
                // The first hits have one port each.
                for (byte, magic) in run.iter_mut().zip(MAGIC) {
                    *byte = *magic;
                }
                Found::Encrypted(*offset, run)
            }
        })
    }

    /// Follows the time: the keyed sequences of the step before, of this one and of the next one count.
    fn renew(&mut self, now: Timestamp) {
        let step = postern_sequence::step_at(now.as_millis() / 1000);
        let wanted = step.saturating_sub(1)..=step.saturating_add(1);
        if self.steps.as_ref() == Some(&wanted) {
            return;
        }
        let is_over = |owner: &Owner| owner.step.is_some_and(|step| !wanted.contains(&step));
        let over = self.owners.iter().filter(|(_, owner)| is_over(owner));
        let over: Vec<SequenceId> = over.map(|(id, _)| *id).collect();
        for id in over {
            self.owners.remove(&id);
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
                    let owner = Owner {
                        step: Some(step),
                        ..Owner::of(row)
                    };
                    self.insert(owner, &sequence);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_has_room_for_so_many_runs() {
        let mut sequences = Sequences::default();
        for number in 0..4096_u128 {
            assert!(sequences.has_room(1));
            sequences.remember_run(1, Mark(number.to_be_bytes()));
        }
        assert!(!sequences.has_room(1) && sequences.has_room(2));
    }
}
