//! The hint table: from the eight bytes of a hint to the keys that made it (proto/README.md section 3).
//!
//! A table is built as a whole on any thread and then swapped in. The packet path only reads it.
//! `benches/gate.rs` compares a look-up among one user and among 100,000.

use std::collections::HashMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use postern_proto::{Hint, HintKey, Step};

use super::bloom::BloomFilter;
use crate::model::time::Timestamp;

/// The hint keys that a table is built from, in the order of the gate's key rows.
#[derive(Debug, Clone, Default)]
pub struct HintKeys(Vec<TimedKey>);

#[derive(Debug, Clone)]
struct TimedKey {
    key: HintKey,
    last_step: Option<u64>,
}

/// The hints of all keys for a range of steps.
pub struct HintTable {
    steps: RangeInclusive<u64>,
    filter: BloomFilter,
    /// The number counts keys of one hint: two keys can have the same one.
    rows: HashMap<(Hint, u32), KeyAtStep>,
}

#[derive(Debug, Clone, Copy)]
struct KeyAtStep {
    row: usize,
    step: Step,
}

/// The steps from `now − window` to `now + window`, and the next one.
pub(super) fn steps_touched(now: Timestamp, window: Duration) -> RangeInclusive<u64> {
    let first = Step::of(now.minus(window).as_millis());
    let last = Step::of(now.plus(window).as_millis());
    first.0..=last.0.saturating_add(1)
}

impl HintKeys {
    pub(super) fn push(&mut self, key: HintKey) {
        self.0.push(TimedKey {
            key,
            last_step: None,
        });
    }

    /// Adds a key that is valid until a time. A client's clock may be ahead by the window.
    pub(super) fn push_old(&mut self, key: HintKey, until: Timestamp, window: Duration) {
        let last = Step::of(until.plus(window).as_millis());
        self.0.push(TimedKey {
            key,
            last_step: Some(last.0),
        });
    }

    pub fn iter(&self) -> impl Iterator<Item = &HintKey> {
        self.0.iter().map(|timed| &timed.key)
    }
}

impl FromIterator<HintKey> for HintKeys {
    fn from_iter<I: IntoIterator<Item = HintKey>>(keys: I) -> Self {
        let mut all = Self::default();
        keys.into_iter().for_each(|key| all.push(key));
        all
    }
}

impl HintTable {
    pub fn empty() -> Self {
        Self::build(&HintKeys::default(), RangeInclusive::new(1, 0))
    }

    /// Computes the hints of all keys for these steps: one HMAC for each key and step.
    pub fn build(keys: &HintKeys, steps: RangeInclusive<u64>) -> Self {
        let count = steps.clone().count().saturating_mul(keys.0.len());
        let mut rows = HashMap::with_capacity(count);
        let mut filter = BloomFilter::with_capacity(count);
        for step in steps.clone() {
            for (row, TimedKey { key, last_step }) in keys.0.iter().enumerate() {
                if last_step.is_none_or(|last| step <= last) {
                    let step = Step(step);
                    let hint = key.hint(step);
                    filter.insert(hint);
                    let free = (0..).find(|n| !rows.contains_key(&(hint, *n)));
                    rows.insert((hint, free.unwrap_or(0)), KeyAtStep { row, step });
                }
            }
        }
        Self {
            steps,
            filter,
            rows,
        }
    }

    /// The key rows that have this hint, each with the step of the hint.
    pub fn find(&self, hint: Hint) -> impl Iterator<Item = (usize, Step)> + '_ {
        (0..)
            .take_while(move |_| self.filter.may_hold(hint))
            .map_while(move |n| self.rows.get(&(hint, n)))
            .map(|found| (found.row, found.step))
    }

    /// Every step of the table, with the hints of all keys that are valid in it.
    pub(crate) fn by_step(
        &self,
    ) -> impl Iterator<Item = (Step, impl Iterator<Item = [u8; 8]> + '_)> + '_ {
        self.steps.clone().map(|step| {
            let in_step = self.rows.iter().filter(move |(_, at)| at.step.0 == step);
            (Step(step), in_step.map(|((hint, _), _)| hint.0))
        })
    }

    /// The number of rows: one for each key and step.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    pub fn covers(&self, steps: &RangeInclusive<u64>) -> bool {
        !self.steps.is_empty()
            && self.steps.contains(steps.start())
            && self.steps.contains(steps.end())
    }
}

/// Shows no hints: a stranger who has one can send packets that cost the gate a mac.
impl fmt::Debug for HintTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "HintTable {{ {} rows, steps {:?} }}",
            self.rows(),
            self.steps
        )
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
        assert_eq!(found, "HintTable { 800 rows, steps 100..=103 }");
    }

    #[test]
    fn an_old_key_ends_with_its_last_step() {
        let all = keys(2);
        let mut keys: HintKeys = all[..1].iter().cloned().collect();
        // The key ends in step 101. A clock that is 30 s ahead is in step 102 then.
        let until = Timestamp::from_millis(64_000 * 101 + 40_000);
        keys.push_old(all[1].clone(), until, WINDOW);
        let table = HintTable::build(&keys, 100..=104);
        for (step, hints) in table.by_step() {
            let is_valid = step.0 <= 102;
            let mut hints: Vec<[u8; 8]> = hints.collect();
            let mut expected: Vec<_> = all.iter().map(|key| key.hint(step).0).collect();
            expected.truncate(if is_valid { 2 } else { 1 });
            hints.sort_unstable();
            expected.sort_unstable();
            assert_eq!(hints, expected, "{step:?}");
            let old = is_valid.then_some((1, step.0));
            assert_eq!(found(&table, &all[1], step.0), Vec::from_iter(old));
        }
        assert_eq!(table.by_step().count(), 5);
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
