//! The hint table: from the eight bytes of a hint to the keys that made it (proto/README.md section 3).
//!
//! The hints of one step are computed once, on any thread, and tables share them. A table is then swapped in as a whole. The packet
//! path only reads it. `benches/gate.rs` compares a look-up among one user and among 100,000.

use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::time::Duration;

use postern_proto::{Hint, HintKey, Step};

use super::bloom::BloomFilter;
use crate::model::time::Timestamp;

/// The hint keys that a table is built from, in the order of the gate's key rows. A clone costs nothing.
#[derive(Debug, Clone, Default)]
pub struct HintKeys {
    keys: Arc<Vec<HintKey>>,
    /// The last steps of old keys, which are the last keys.
    last_steps: Vec<u64>,
}

/// The hints of all keys for a range of steps.
#[derive(Clone)]
pub struct HintTable {
    steps: Vec<Arc<StepHints>>,
    filter: Arc<BloomFilter>,
}

/// The hints of all keys that are valid in one step, each with its row.
///
/// A hash table with open addressing: 18 bytes for each hint. Hints are random, so they need no hash. The same hint can be there
/// twice, with two rows.
#[derive(Default)]
pub struct StepHints {
    step: u64,
    count: usize,
    hints: Vec<Hint>,
    rows: Vec<u32>,
}

const FREE: u32 = u32::MAX;

/// The steps from `now − window` to `now + window`, and the next one.
pub(super) fn steps_touched(now: Timestamp, window: Duration) -> RangeInclusive<u64> {
    let first = Step::of(now.minus(window).as_millis());
    let last = Step::of(now.plus(window).as_millis());
    first.0..=last.0.saturating_add(1)
}

impl HintKeys {
    /// The last keys end at these times. A client's clock may be ahead by the window.
    pub(super) fn new(
        keys: Arc<Vec<HintKey>>,
        ends: impl Iterator<Item = Timestamp>,
        window: Duration,
    ) -> Self {
        let last = |until: Timestamp| Step::of(until.plus(window).as_millis()).0;
        Self {
            keys,
            last_steps: ends.map(last).collect(),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &HintKey> {
        self.keys.iter()
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The hints of some of the keys in a step, each with its row: one HMAC each.
    pub fn hints(&self, step: u64, rows: Range<usize>) -> Vec<(u32, Hint)> {
        let present = self.keys.len().saturating_sub(self.last_steps.len());
        let is_valid = |row: usize| {
            let old = row.checked_sub(present);
            let last = old.and_then(|old| self.last_steps.get(old));
            last.is_none_or(|last| step <= *last)
        };
        let keys = self.keys.get(rows.clone()).unwrap_or_default();
        let keys = rows.zip(keys).filter(|(row, _)| is_valid(*row));
        keys.filter_map(|(row, key)| Some((u32::try_from(row).ok()?, key.hint(Step(step)))))
            .collect()
    }
}

impl FromIterator<HintKey> for HintKeys {
    fn from_iter<I: IntoIterator<Item = HintKey>>(keys: I) -> Self {
        Self {
            keys: Arc::new(keys.into_iter().collect()),
            last_steps: Vec::new(),
        }
    }
}

impl StepHints {
    /// Puts together what [`HintKeys::hints`] gave for all rows, in parts.
    pub fn of(step: u64, parts: &[Vec<(u32, Hint)>]) -> Self {
        let count = parts.iter().map(Vec::len).sum::<usize>();
        let room = count.saturating_add(count / 2).saturating_add(1);
        let mut table = Self {
            step,
            count,
            hints: vec![Hint([0; 8]); room],
            rows: vec![FREE; room],
        };
        for (row, hint) in parts.iter().flatten() {
            let free = places(*hint, room).find(|at| table.rows.get(*at) == Some(&FREE));
            let slot = free.and_then(|at| table.rows.get_mut(at).zip(table.hints.get_mut(at)));
            if let Some(slot) = slot {
                (*slot.0, *slot.1) = (*row, *hint);
            }
        }
        table
    }

    fn find(&self, hint: Hint) -> impl Iterator<Item = usize> + '_ {
        let slots = places(hint, self.rows.len());
        let slots = slots.filter_map(|at| self.rows.get(at).zip(self.hints.get(at)));
        let slots = slots.take_while(|(row, _)| **row != FREE);
        slots.filter_map(move |(row, found)| {
            let row = usize::try_from(*row).ok()?;
            (*found == hint).then_some(row)
        })
    }

    /// Hints are in order, but for those whose place was taken: these follow, up to a free place.
    fn hints_between(&self, from: u64, to: u64) -> impl Iterator<Item = Hint> + '_ {
        let len = self.rows.len();
        let (first, last) = (place(from, len), place(to, len));
        let is_free = |at: &usize| self.rows.get(*at) == Some(&FREE);
        let displaced = (last..len)
            .chain(0..last)
            .take_while(move |at| !is_free(at));
        let slots = (first..last).chain(displaced);
        slots.filter_map(move |at| {
            let hint = self.hints.get(at)?;
            self.rows.get(at).filter(|row| **row != FREE)?;
            Some(*hint)
        })
    }

    fn hints(&self) -> impl Iterator<Item = Hint> + '_ {
        let slots = self.rows.iter().zip(&self.hints);
        slots.filter_map(|(row, hint)| (*row != FREE).then_some(*hint))
    }
}

/// The place where a hint belongs.
fn place(hint: u64, len: usize) -> usize {
    let place = u128::from(hint).wrapping_mul(len as u128) >> 64;
    usize::try_from(place).unwrap_or_default()
}

/// All places of a table, from the one where a hint belongs.
fn places(Hint(hint): Hint, len: usize) -> impl Iterator<Item = usize> {
    let first = place(u64::from_be_bytes(hint), len);
    (first..len).chain(0..first)
}

impl HintTable {
    pub fn empty() -> Self {
        Self::of_steps(Vec::new())
    }

    /// Computes the hints of all keys for these steps.
    pub fn build(keys: &HintKeys, steps: RangeInclusive<u64>) -> Self {
        let step = |step| Arc::new(StepHints::of(step, &[keys.hints(step, 0..keys.len())]));
        Self::of_steps(steps.map(step).collect())
    }

    /// A table of these steps, in order and without a gap.
    pub fn of_steps(steps: Vec<Arc<StepHints>>) -> Self {
        let count = steps.iter().map(|step| step.count).sum();
        let mut filter = BloomFilter::with_capacity(count);
        let hints = steps.iter().flat_map(|step| step.hints());
        hints.for_each(|hint| filter.insert(hint));
        Self {
            steps,
            filter: Arc::new(filter),
        }
    }

    /// The hints of a step, for the next table.
    pub fn step(&self, step: u64) -> Option<Arc<StepHints>> {
        self.steps.iter().find(|one| one.step == step).cloned()
    }

    /// The key rows that have this hint, each with the step of the hint.
    pub fn find(&self, hint: Hint) -> impl Iterator<Item = (usize, Step)> + '_ {
        let may_hold = self.filter.may_hold(hint);
        let steps = self.steps.iter().filter(move |_| may_hold);
        steps.flat_map(move |one| one.find(hint).map(|row| (row, Step(one.step))))
    }

    #[cfg(test)]
    pub(crate) fn hints(&self) -> impl Iterator<Item = Hint> + '_ {
        self.steps.iter().flat_map(|step| step.hints())
    }

    /// The hints of all steps from one number on, and before another. There may be others as well.
    pub(crate) fn hints_between(&self, from: u64, to: u64) -> impl Iterator<Item = Hint> + '_ {
        let steps = self.steps.iter();
        steps.flat_map(move |step| step.hints_between(from, to))
    }

    /// The number of rows: one for each key and step.
    pub fn rows(&self) -> usize {
        self.steps.iter().map(|step| step.count).sum()
    }

    pub fn covers(&self, steps: &RangeInclusive<u64>) -> bool {
        let has = |step: &u64| self.steps.iter().any(|one| one.step == *step);
        has(steps.start()) && has(steps.end())
    }
}

/// Shows no hints: a stranger who has one can send packets that cost the gate a mac.
impl fmt::Debug for HintTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<u64> = self.steps.iter().map(|step| step.step).collect();
        write!(f, "HintTable {{ {} rows, steps {steps:?} }}", self.rows())
    }
}

#[cfg(test)]
mod tests {
    use postern_proto::{GateName, KeyMaterial, SharedKey, UserKeys};

    use super::*;

    const WINDOW: Duration = Duration::from_secs(30);

    fn keys(count: u8) -> Vec<HintKey> {
        let gate = GateName::new("gate.example.org").unwrap();
        let key = |n: u8| {
            let material = KeyMaterial::shared(&SharedKey::from_bytes([n; 32]));
            UserKeys::derive(&gate, &material).hint_key().clone()
        };
        (0..count).map(key).collect()
    }

    fn table(keys: &[HintKey], steps: RangeInclusive<u64>) -> HintTable {
        HintTable::build(&keys.iter().cloned().collect(), steps)
    }

    fn found(table: &HintTable, key: &HintKey, step: u64) -> Vec<(usize, u64)> {
        let rows = table.find(key.hint(Step(step)));
        rows.map(|(row, step)| (row, step.0)).collect()
    }

    #[test]
    fn each_user_is_found_at_each_step() {
        let keys = keys(200);
        let table = table(&keys, 100..=103);
        for (user, key) in keys.iter().enumerate() {
            for step in 99..=104 {
                let expected = (100..=103).contains(&step).then_some((user, step));
                assert_eq!(found(&table, key, step), Vec::from_iter(expected));
            }
        }
        assert_eq!(table.rows(), 800);
        let found = format!("{table:?}");
        assert_eq!(found, "HintTable { 800 rows, steps [100, 101, 102, 103] }");
    }

    #[test]
    fn an_old_key_ends_with_its_last_step() {
        let all = keys(2);
        // The key ends in step 101. A clock that is 30 s ahead is in step 102 then.
        let until = Timestamp::from_millis(64_000 * 101 + 40_000);
        let keys = HintKeys::new(Arc::new(all.clone()), std::iter::once(until), WINDOW);
        let table = HintTable::build(&keys, 100..=104);
        for step in 100..=104 {
            let is_valid = step <= 102;
            assert_eq!(found(&table, &all[0], step), [(0, step)]);
            let old = is_valid.then_some((1, step));
            assert_eq!(found(&table, &all[1], step), Vec::from_iter(old));
        }
        assert_eq!((table.rows(), table.hints().count()), (8, 8));
    }

    #[test]
    fn the_table_needs_window_and_next_step() {
        for (ms, steps) in [
            (64_000 * 10 + 32_000, 10..=11),
            (64_000 * 10 + 1_000, 9..=11),
            (64_000 * 10 + 63_000, 10..=12),
            (1_000, 0..=1),
        ] {
            assert_eq!(steps_touched(Timestamp::from_millis(ms), WINDOW), steps);
        }
    }

    #[test]
    fn a_table_covers_only_its_own_steps() {
        let table = table(&keys(1), 7..=9);
        for (steps, covered) in [
            (7..=9, true),
            (8..=8, true),
            (6..=8, false),
            (8..=10, false),
            (6..=10, false),
        ] {
            assert_eq!(table.covers(&steps), covered, "{steps:?}");
        }
    }

    #[test]
    fn keys_of_one_hint_are_all_found() {
        let key = keys(1).remove(0);
        let table = table(&[key.clone(), key.clone(), key.clone()], 7..=7);
        assert_eq!(found(&table, &key, 7), [(0, 7), (1, 7), (2, 7)]);
    }
}
