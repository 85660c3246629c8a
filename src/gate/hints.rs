//! The hint table: from eight bytes to the users they may be of, in one look-up however many users there are.
//!
//! PROTOCOL section 3. A table is built whole, on any thread, and swapped in; the packet path only reads it.
//! Rows are placed by HMAC output, which nobody without a key can choose, so plain linear probing stays short.
//! What is read of it for a packet stays in the processor's cache up to some 100,000 users: `benches/gate.rs` measures it.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use postern_proto::{Hint, HintKey, Step};

use crate::time::Timestamp;

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
    sieve: Sieve,
    /// Numbers of rows in `hints`, counted from 1, each with as many bits of its hint above it as there is room for. A row
    /// stands where its hint places it, or behind; 0 is an empty slot, and at least a third is empty.
    slots: Vec<u32>,
    /// Of a slot, the bits that are the row's number.
    row_mask: u32,
}

/// Says of nearly every hint that is not in the table that it is not, with one look at one word (a blocked Bloom filter).
struct Sieve {
    /// A bit that is set says that no hint of the table falls there. So an empty sieve is not all zeros, which the
    /// kernel would keep as one page for all of it: small gates shall meet the same caches as large ones.
    words: Vec<u64>,
}

/// 512 kB, enough for 100,000 users at a window of 30 s. Smaller gates have it too, so that the time of a look-up
/// does not depend on how many users there are.
const WORDS_MIN: usize = 1 << 16;

/// At this many rows a word about one stranger in a hundred passes the sieve.
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
        Self { keys: Vec::with_capacity(count), last_steps: Vec::new() }
    }

    /// A key that counts for ever. All of these come before any old one.
    pub(super) fn push(&mut self, key: HintKey) {
        debug_assert!(self.last_steps.is_empty());
        self.keys.push(key);
    }

    /// A key that counts until a time, for knocks whose clock may be ahead by the window.
    pub(super) fn push_old(&mut self, key: HintKey, until: Timestamp, window: Duration) {
        self.keys.push(key);
        self.last_steps.push(Step::of(until.plus(window).as_millis()).0);
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
        row.checked_sub(first_old).and_then(|at| self.last_steps.get(at)).is_none_or(|last| step <= *last)
    }

    /// The hint of each row in this step; none where its key does not count any more.
    fn at(&self, step: u64) -> impl Iterator<Item = Option<u64>> + '_ {
        self.keys.iter().enumerate().map(move |(row, key)| self.counts(row, step).then(|| number(key.hint(Step(step)))))
    }
}

impl FromIterator<HintKey> for HintKeys {
    /// Keys that count for ever.
    fn from_iter<I: IntoIterator<Item = HintKey>>(keys: I) -> Self {
        Self { keys: keys.into_iter().collect(), last_steps: Vec::new() }
    }
}

impl HintTable {
    /// A table that knows nobody.
    pub fn empty() -> Self {
        Self::build(&HintKeys::default(), RangeInclusive::new(1, 0))
    }

    /// Computes the hints of all keys for these steps: one HMAC a key and step.
    pub fn build(keys: &HintKeys, steps: RangeInclusive<u64>) -> Self {
        let hints: Vec<u64> = steps.clone().flat_map(|step| keys.at(step).map(Option::unwrap_or_default)).collect();
        let rows = hints.len();
        let mut table = Self {
            steps: steps.clone(),
            keys: keys.len(),
            sieve: Sieve::for_rows(rows),
            slots: vec![0; rows.saturating_add(rows / 2).next_power_of_two().max(SLOTS_MIN)],
            row_mask: u32::MAX.checked_shr(u32::try_from(rows).unwrap_or(u32::MAX).leading_zeros()).unwrap_or(0),
            hints: Vec::new(),
        };
        let counting = steps.flat_map(|step| (0..keys.len()).map(move |row| keys.counts(row, step)));
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
        if !self.sieve.may_hold(hint) {
            return None;
        }
        let mut rows = self.probe(hint).filter(move |row| self.hints.get(*row) == Some(&hint)).map(|row| self.meaning(row)).peekable();
        rows.peek().is_some().then_some(rows)
    }

    /// Every step of the table with the hints of all keys that count in it.
    pub fn by_step(&self) -> impl Iterator<Item = (Step, impl Iterator<Item = [u8; 8]> + '_)> + '_ {
        let rows = self.hints.chunks(self.keys.max(1));
        // A key that does not count any more has 0 in the place of its hint.
        self.steps
            .clone()
            .zip(rows)
            .map(|(step, hints)| (Step(step), hints.iter().filter(|hint| **hint != 0).map(|hint| hint.to_be_bytes())))
    }

    /// How many rows it has: one a user and step.
    pub fn rows(&self) -> usize {
        self.hints.len()
    }

    /// Whether all these steps are in the table.
    pub fn covers(&self, steps: &RangeInclusive<u64>) -> bool {
        !self.steps.is_empty() && self.steps.contains(steps.start()) && self.steps.contains(steps.end())
    }

    fn insert(&mut self, hint: u64, row: u32) {
        self.sieve.insert(hint);
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
        let alike = from.iter().chain(before).take_while(|slot| **slot != 0).filter(move |slot| **slot & !self.row_mask == tag);
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
        (row.checked_rem(self.keys).unwrap_or_default(), Step(self.steps.start().saturating_add(offset as u64)))
    }
}

/// Without the hints: there are many, and whoever has one can send packets that cost the gate a mac.
impl fmt::Debug for HintTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HintTable {{ {} keys, steps {:?} }}", self.keys, self.steps)
    }
}

impl Sieve {
    fn for_rows(rows: usize) -> Self {
        Self { words: vec![u64::MAX; (rows / ROWS_A_WORD).next_power_of_two().max(WORDS_MIN)] }
    }

    fn insert(&mut self, hint: u64) {
        let at = self.place(hint);
        if let Some(word) = self.words.get_mut(at) {
            *word &= !bits(hint);
        }
    }

    fn may_hold(&self, hint: u64) -> bool {
        self.words.get(self.place(hint)).is_some_and(|word| word & bits(hint) == 0)
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
mod tests {
    use super::*;
    use postern_proto::{GateName, KeyMaterial, SharedKey, UserKeys};

    fn table(keys: &[HintKey], steps: RangeInclusive<u64>) -> HintTable {
        HintTable::build(&HintKeys { keys: keys.to_vec(), last_steps: Vec::new() }, steps)
    }

    fn keys(count: u32) -> Vec<HintKey> {
        let gate = GateName::new("gate.example.org").unwrap();
        let key = |n: u32| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&n.to_be_bytes());
            UserKeys::derive(&gate, &KeyMaterial::shared(&SharedKey::from_bytes(bytes))).hint_key()
        };
        (0..count).map(key).collect()
    }

    #[test]
    fn every_user_is_found_at_every_step_of_the_table_and_at_no_other() {
        let keys = keys(300);
        let table = table(&keys, 100..=103);
        for (user, key) in keys.iter().enumerate() {
            for step in 100..=103 {
                let found: Vec<_> = table.find(key.hint(Step(step))).unwrap().collect();
                assert_eq!(found, [(user, Step(step))]);
            }
            assert!(table.find(key.hint(Step(99))).is_none());
            assert!(table.find(key.hint(Step(104))).is_none());
        }
    }

    #[test]
    fn a_hint_with_one_bit_changed_is_nobodys() {
        let keys = keys(50);
        let table = table(&keys, 100..=101);
        for key in &keys {
            for bit in 0..64 {
                let near = (number(key.hint(Step(100))) ^ (1 << bit)).to_be_bytes();
                assert!(table.find(Hint(near)).is_none(), "bit {bit}");
            }
        }
    }

    #[test]
    fn the_sieve_turns_nearly_every_stranger_away_with_one_look() {
        // As full as it gets before the next size.
        let mut sieve = Sieve::for_rows(0);
        let numbers = |seed: u64| {
            (0..).scan(seed, |state, _: u64| {
                *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                Some((*state ^ (*state >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9))
            })
        };
        let rows = WORDS_MIN * ROWS_A_WORD;
        numbers(1).take(rows).for_each(|hint| sieve.insert(hint));
        assert!(numbers(1).take(rows).all(|hint| sieve.may_hold(hint)), "a hint of the table always passes");
        let passed = numbers(2).take(100_000).filter(|hint| sieve.may_hold(*hint)).count();
        assert!(passed < 2_000, "{passed} of 100,000");
    }

    #[test]
    fn two_users_under_one_hint_are_both_named() {
        let key = keys(1).remove(0);
        let table = table(&[key.clone(), key.clone()], 7..=7);
        let found: Vec<_> = table.find(key.hint(Step(7))).unwrap().collect();
        assert_eq!(found, [(0, Step(7)), (1, Step(7))]);
    }

    #[test]
    fn an_old_key_is_found_up_to_the_step_of_its_last_knock_and_costs_later_tables_nothing() {
        let all = keys(2);
        let mut keys = HintKeys::default();
        keys.push(all[0].clone());
        // It ends in step 101, and a clock that is 30 s ahead is in step 102 by then.
        keys.push_old(all[1].clone(), Timestamp::from_millis(64_000 * 101 + 40_000), Duration::from_secs(30));
        let table = HintTable::build(&keys, 100..=104);
        for step in 100..=104 {
            let found = |key: &HintKey| table.find(key.hint(Step(step))).map(|rows| rows.collect::<Vec<_>>());
            assert_eq!(found(&all[0]), Some(vec![(0, Step(step))]), "step {step}");
            assert_eq!(found(&all[1]), (step <= 102).then(|| vec![(1, Step(step))]), "step {step}");
        }
        assert_eq!(table.slots.iter().filter(|slot| **slot != 0).count(), 5 + 3);
        assert_eq!(keys.at(103).flatten().count(), 1, "no hint is made for it");
    }

    #[test]
    fn an_empty_table_and_a_table_without_users_know_nobody() {
        let hint = keys(1).remove(0).hint(Step(7));
        assert!(HintTable::empty().find(hint).is_none());
        assert!(table(&[], 7..=8).find(hint).is_none());
        assert!(!HintTable::empty().covers(&(0..=0)));
    }

    #[test]
    fn the_steps_of_the_window_and_the_next_one_are_wanted() {
        let at = |ms| Timestamp::from_millis(ms);
        assert_eq!(steps_touched(at(64_000 * 10 + 32_000), Duration::from_secs(30)), 10..=11);
        assert_eq!(steps_touched(at(64_000 * 10 + 1_000), Duration::from_secs(30)), 9..=11);
        assert_eq!(steps_touched(at(64_000 * 10 + 63_000), Duration::from_secs(30)), 10..=12);
        assert_eq!(steps_touched(at(1_000), Duration::from_secs(30)), 0..=1);
    }

    #[test]
    fn a_table_grows_with_its_rows_and_keeps_a_third_of_its_slots_empty() {
        for (users, slots) in [(1, 1024), (170, 1024), (171, 2048), (400, 4096)] {
            let table = table(&keys(users), 100..=103);
            let (rows, empty) = (table.rows(), table.slots.iter().filter(|slot| **slot == 0).count());
            assert_eq!((table.slots.len(), rows + empty), (slots, slots), "{users} users");
            assert!(3 * empty >= slots, "{users} users: {empty} of {slots}");
            let mask = usize::try_from(table.row_mask).unwrap();
            assert!(rows <= mask && mask < 2 * rows, "{rows} rows, mask {mask:x}: no bit that could be the hint's");
        }
    }

    #[test]
    fn a_sieve_grows_with_its_rows_and_never_gets_denser() {
        let words = |rows| Sieve::for_rows(rows).words.len();
        assert_eq!([0, 1, WORDS_MIN * ROWS_A_WORD].map(words), [WORDS_MIN; 3]);
        assert_eq!([WORDS_MIN + 1, 2 * WORDS_MIN].map(|words_needed| words(words_needed * ROWS_A_WORD)), [2 * WORDS_MIN; 2]);
    }

    #[test]
    fn a_table_that_is_shown_shows_no_hint() {
        assert_eq!(format!("{:?}", table(&keys(2), 7..=8)), "HintTable { 2 keys, steps 7..=8 }");
    }
}
