//! The hint table: from eight bytes to the users they may be of, in one look-up however many users there are.
//!
//! PROTOCOL section 3. A table is built whole, on any thread, and swapped in; the packet path only reads it.
//! Rows are placed by HMAC output, which nobody without a key can choose, so plain linear probing stays short.
//! The prefilter stays in the processor's cache up to some 100,000 users, and what else is read for a packet is read ahead (`ahead`):
//! `benches/gate.rs` measures it.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use postern_proto::{Hint, HintKey, Step};

use crate::model::time::Timestamp;

/// What a table is built from: the key of each row, in the order of the gate's rows.
#[derive(Debug, Clone, Default)]
pub struct HintKeys {
    keys: Vec<HintKey>,
    /// Of the last rows, the last step in which each counts. All others count for ever.
    last_steps: Vec<u64>,
}

/// Hints of all rows of keys for a range of steps.
pub struct HintTable {
    steps: RangeInclusive<u64>,
    /// How many rows of keys the gate has.
    keys: usize,
    /// Step by step, and in each step key by key: in what is asked for now, one step's part is in use.
    hints: Vec<u64>,
    prefilter: Prefilter,
    /// Numbers of rows in `hints`, counted from 1, each with as many bits of its hint above it as there is room for. A row
    /// stands where its hint places it, or behind; 0 is an empty slot, and at least a third is empty.
    slots: Vec<u32>,
    /// Of a slot, the bits that are the row's number.
    row_mask: u32,
}

/// Says of nearly every hint that is not in the table that it is not, with one look at one word (a blocked Bloom filter).
struct Prefilter {
    /// A bit that is set says that no hint of the table falls there. So an empty prefilter is not all zeros, which the
    /// kernel would keep as one page for all of it: small gates shall meet the same caches as large ones.
    words: Vec<u64>,
}

/// 512 kB, enough for 100,000 users at a window of 30 s. Smaller gates have it too, so that the time of a look-up
/// does not depend on how many users there are.
const WORDS_MIN: usize = 1 << 16;

/// At this many rows a word about one stranger in a hundred passes the prefilter.
const ROWS_A_WORD: usize = 5;

const SLOTS_MIN: usize = 1 << 10;

/// The steps that [now − window, now + window] touches, and the one after.
pub(super) fn steps_touched(now: Timestamp, window: Duration) -> RangeInclusive<u64> {
    let first = Step::of(now.minus(window).as_millis());
    let last = Step::of(now.plus(window).as_millis());
    first.0..=last.0.saturating_add(1)
}

impl HintKeys {
    pub(super) fn with_capacity(count: usize) -> Self {
        Self {
            keys: Vec::with_capacity(count),
            last_steps: Vec::new(),
        }
    }

    /// A key that counts for ever. All of these come before any old one.
    pub(super) fn push(&mut self, key: HintKey) {
        debug_assert!(self.last_steps.is_empty());
        self.keys.push(key);
    }

    /// A key that counts until a time, for knocks whose clock may be ahead by the window.
    pub(super) fn push_old(&mut self, key: HintKey, until: Timestamp, window: Duration) {
        self.keys.push(key);
        self.last_steps
            .push(Step::of(until.plus(window).as_millis()).0);
    }

    /// Each row's key.
    pub fn iter(&self) -> impl Iterator<Item = &HintKey> {
        self.keys.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether this row's key counts in this step.
    fn counts(&self, row: usize, step: u64) -> bool {
        let first_old = self.keys.len().saturating_sub(self.last_steps.len());
        row.checked_sub(first_old)
            .and_then(|at| self.last_steps.get(at))
            .is_none_or(|last| step <= *last)
    }

    /// The hint of each row in this step; none where its key does not count any more.
    fn at(&self, step: u64) -> impl Iterator<Item = Option<u64>> + '_ {
        self.keys
            .iter()
            .enumerate()
            .map(move |(row, key)| self.counts(row, step).then(|| number(key.hint(Step(step)))))
    }
}

impl FromIterator<HintKey> for HintKeys {
    /// Keys that count for ever.
    fn from_iter<I: IntoIterator<Item = HintKey>>(keys: I) -> Self {
        Self {
            keys: keys.into_iter().collect(),
            last_steps: Vec::new(),
        }
    }
}

impl HintTable {
    /// A table that knows nobody.
    pub fn empty() -> Self {
        Self::build(&HintKeys::default(), RangeInclusive::new(1, 0))
    }

    /// Computes the hints of all keys for these steps: one HMAC a key and step.
    pub fn build(keys: &HintKeys, steps: RangeInclusive<u64>) -> Self {
        let hints: Vec<u64> = steps
            .clone()
            .flat_map(|step| keys.at(step).map(Option::unwrap_or_default))
            .collect();
        let rows = hints.len();
        let mut table = Self {
            steps: steps.clone(),
            keys: keys.len(),
            prefilter: Prefilter::for_rows(rows),
            slots: vec![
                0;
                rows.saturating_add(rows / 2)
                    .next_power_of_two()
                    .max(SLOTS_MIN)
            ],
            row_mask: u32::MAX
                .checked_shr(u32::try_from(rows).unwrap_or(u32::MAX).leading_zeros())
                .unwrap_or(0),
            hints: Vec::new(),
        };
        let counting =
            steps.flat_map(|step| (0..keys.len()).map(move |row| keys.counts(row, step)));
        for ((row, hint), counts) in (1..=u32::MAX).zip(&hints).zip(counting) {
            if counts {
                table.insert(*hint, row);
            }
        }
        table.hints = hints;
        table
    }

    /// The rows of keys under this hint, each with the step it is the hint of; `None` where there is none.
    pub fn find(&self, hint: Hint) -> Option<impl Iterator<Item = (usize, Step)> + '_> {
        let hint = number(hint);
        if !self.prefilter.may_hold(hint) {
            return None;
        }
        let mut rows = self
            .probe(hint)
            .filter(move |row| self.hints.get(*row) == Some(&hint))
            .map(|row| self.meaning(row))
            .peekable();
        rows.peek().is_some().then_some(rows)
    }

    /// Whether a look-up of this hint has to look further than the prefilter.
    pub(super) fn may_hold(&self, hint: Hint) -> bool {
        self.prefilter.may_hold(number(hint))
    }

    /// Reads ahead of [`HintTable::find`]: what stands where a hint is placed.
    pub(super) fn slot(&self, hint: Hint) -> u32 {
        self.slots
            .get(self.place(number(hint)))
            .copied()
            .unwrap_or_default()
    }

    /// Reads ahead, once the slot is near: the row that it most likely leads to, whoever's that is.
    pub(super) fn likely_row(&self, hint: Hint) -> usize {
        self.probe(number(hint)).next().unwrap_or_default()
    }

    /// Reads ahead, at last: the row's hint, and the row of keys that it is of.
    pub(super) fn hint_and_keys(&self, row: usize) -> (u64, usize) {
        (
            self.hints.get(row).copied().unwrap_or_default(),
            self.meaning(row).0,
        )
    }

    /// Every step of the table with the hints of all keys that count in it.
    pub fn by_step(&self) -> impl Iterator<Item = (Step, impl Iterator<Item = [u8; 8]> + '_)> + '_ {
        let rows = self.hints.chunks(self.keys.max(1));
        // A key that does not count any more has 0 in the place of its hint.
        self.steps.clone().zip(rows).map(|(step, hints)| {
            (
                Step(step),
                hints
                    .iter()
                    .filter(|hint| **hint != 0)
                    .map(|hint| hint.to_be_bytes()),
            )
        })
    }

    /// How many rows it has: one a user and step.
    pub fn rows(&self) -> usize {
        self.hints.len()
    }

    /// Whether all these steps are in the table.
    pub fn covers(&self, steps: &RangeInclusive<u64>) -> bool {
        !self.steps.is_empty()
            && self.steps.contains(steps.start())
            && self.steps.contains(steps.end())
    }

    fn insert(&mut self, hint: u64, row: u32) {
        self.prefilter.insert(hint);
        let (start, slot) = (self.place(hint), self.tag(hint) | row);
        let (before, from) = self.slots.split_at_mut(start);
        if let Some(empty) = from.iter_mut().chain(before).find(|slot| **slot == 0) {
            *empty = slot;
        }
    }

    /// Rows that look like the hint's, from its own place to the first empty slot.
    fn probe(&self, hint: u64) -> impl Iterator<Item = usize> + '_ {
        let (before, from) = self.slots.split_at(self.place(hint));
        let tag = self.tag(hint);
        let alike = from
            .iter()
            .chain(before)
            .take_while(|slot| **slot != 0)
            .filter(move |slot| **slot & !self.row_mask == tag);
        alike.map(|slot| low(u64::from(*slot & self.row_mask)).saturating_sub(1))
    }

    fn place(&self, hint: u64) -> usize {
        low(hint) & self.slots.len().saturating_sub(1)
    }

    /// The hint's first bits, as a slot has them above the row.
    fn tag(&self, hint: u64) -> u32 {
        (hint >> 32) as u32 & !self.row_mask
    }

    /// The row of keys and the step of a row of the table.
    fn meaning(&self, row: usize) -> (usize, Step) {
        let offset = row.checked_div(self.keys).unwrap_or_default();
        (
            row.checked_rem(self.keys).unwrap_or_default(),
            Step(self.steps.start().saturating_add(offset as u64)),
        )
    }
}

/// Without the hints: there are many, and whoever has one can send packets that cost the gate a mac.
impl fmt::Debug for HintTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "HintTable {{ {} keys, steps {:?} }}",
            self.keys, self.steps
        )
    }
}

impl Prefilter {
    fn for_rows(rows: usize) -> Self {
        Self {
            words: vec![u64::MAX; (rows / ROWS_A_WORD).next_power_of_two().max(WORDS_MIN)],
        }
    }

    fn insert(&mut self, hint: u64) {
        let at = self.place(hint);
        if let Some(word) = self.words.get_mut(at) {
            *word &= !bits(hint);
        }
    }

    fn may_hold(&self, hint: u64) -> bool {
        self.words
            .get(self.place(hint))
            .is_some_and(|word| word & bits(hint) == 0)
    }

    fn place(&self, hint: u64) -> usize {
        low(hint >> 20) & self.words.len().saturating_sub(1)
    }
}

/// Three bits of a word, from the hint's topmost 18.
fn bits(hint: u64) -> u64 {
    1 << (hint >> 58) | 1 << (hint >> 52 & 63) | 1 << (hint >> 46 & 63)
}

fn number(hint: Hint) -> u64 {
    u64::from_be_bytes(hint.0)
}

/// As much of a number as an index can hold.
fn low(number: u64) -> usize {
    usize::try_from(number).unwrap_or(number as u32 as usize)
}

#[cfg(test)]
mod tests;
