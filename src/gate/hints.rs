//! The hint table: from eight bytes to the users they may be of, in one look-up however many users there are.
//!
//! PROTOCOL section 3. A table is built whole, on any thread, and swapped in; the packet path only reads it.
//! Rows are placed by HMAC output, which nobody without a key can choose, so plain linear probing stays short.

use std::ops::RangeInclusive;
use std::time::Duration;

use postern_proto::{Hint, HintKey, Step};

use crate::time::Timestamp;

/// Hints of all users for a range of steps.
#[derive(Debug)]
pub struct HintTable {
    steps: RangeInclusive<u64>,
    /// One byte a slot, so that the look-up of a stranger's hint stays in the cache: 0 is an empty slot.
    tags: Vec<u8>,
    slots: Vec<Slot>,
    mask: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    hint: u64,
    user: u32,
    /// Counted from the first step of the table.
    step: u32,
}

/// Small gates get a table of this size too, so that the time of a look-up does not tell how many users there are.
const SLOTS_MIN: usize = 1 << 16;

/// The steps that [now − window, now + window] touches, and the one after.
pub(super) fn steps_touched(now: Timestamp, window: Duration) -> RangeInclusive<u64> {
    let first = Step::of(now.minus(window).as_millis());
    let last = Step::of(now.plus(window).as_millis());
    first.0..=last.0.saturating_add(1)
}

impl HintTable {
    /// A table that knows nobody.
    pub fn empty() -> Self {
        Self { steps: RangeInclusive::new(1, 0), tags: vec![0], slots: vec![Slot::default()], mask: 0 }
    }

    /// Computes the rows of all users for these steps: one HMAC a user and step. `keys` are in the order of the gate's users.
    pub fn build(keys: &[HintKey], steps: RangeInclusive<u64>) -> Self {
        let rows = steps.clone().count().saturating_mul(keys.len());
        let size = rows.saturating_mul(2).next_power_of_two().max(SLOTS_MIN);
        let mut table =
            Self { tags: vec![0; size], slots: vec![Slot::default(); size], mask: size.saturating_sub(1), steps: steps.clone() };
        for (user, key) in (0u32..).zip(keys) {
            for (offset, step) in (0u32..).zip(steps.clone()) {
                table.insert(Slot { hint: number(key.hint(Step(step))), user, step: offset });
            }
        }
        table
    }

    /// The users under this hint, each with the step it is the hint of; `None` where there is none.
    pub fn find(&self, hint: Hint) -> Option<impl Iterator<Item = (usize, Step)> + '_> {
        let hint = number(hint);
        let tag = tag(hint);
        let first = self.probe(hint).find(|(_, at_tag, slot)| *at_tag == tag && slot.hint == hint)?.0;
        let from = self.probe_from(first).filter(move |(_, _, slot)| slot.hint == hint);
        Some(from.map(|(_, _, slot)| (slot.user as usize, Step(self.steps.start().saturating_add(u64::from(slot.step))))))
    }

    /// Whether all these steps are in the table.
    pub fn covers(&self, steps: &RangeInclusive<u64>) -> bool {
        !self.steps.is_empty() && self.steps.contains(steps.start()) && self.steps.contains(steps.end())
    }

    fn insert(&mut self, row: Slot) {
        let start = place(row.hint, self.mask);
        for offset in 0..self.tags.len() {
            let at = start.wrapping_add(offset) & self.mask;
            if let (Some(tag_here @ 0), Some(slot)) = (self.tags.get_mut(at), self.slots.get_mut(at)) {
                *tag_here = tag(row.hint);
                *slot = row;
                return;
            }
        }
    }

    /// Occupied slots from the hint's own place to the first empty one.
    fn probe(&self, hint: u64) -> impl Iterator<Item = (usize, u8, &Slot)> + '_ {
        self.probe_from(place(hint, self.mask))
    }

    fn probe_from(&self, start: usize) -> impl Iterator<Item = (usize, u8, &Slot)> + '_ {
        (0..self.tags.len()).map_while(move |offset| {
            let at = start.wrapping_add(offset) & self.mask;
            match (self.tags.get(at), self.slots.get(at)) {
                (Some(&tag), Some(slot)) if tag != 0 => Some((at, tag, slot)),
                _ => None,
            }
        })
    }
}

fn number(hint: Hint) -> u64 {
    u64::from_be_bytes(hint.0)
}

fn place(hint: u64, mask: usize) -> usize {
    usize::try_from(hint).unwrap_or(hint as u32 as usize) & mask
}

/// From the bits that [`place`] does not use; never 0.
fn tag(hint: u64) -> u8 {
    (hint >> 56) as u8 | 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_proto::{GateName, KeyMaterial, SharedKey, UserKeys};

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
        let table = HintTable::build(&keys, 100..=103);
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
    fn two_users_under_one_hint_are_both_named() {
        let key = keys(1).remove(0);
        let table = HintTable::build(&[key.clone(), key.clone()], 7..=7);
        let found: Vec<_> = table.find(key.hint(Step(7))).unwrap().collect();
        assert_eq!(found, [(0, Step(7)), (1, Step(7))]);
    }

    #[test]
    fn an_empty_table_and_a_table_without_users_know_nobody() {
        let hint = keys(1).remove(0).hint(Step(7));
        assert!(HintTable::empty().find(hint).is_none());
        assert!(HintTable::build(&[], 7..=8).find(hint).is_none());
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
}
