//! The map of hints as the program reads it: buckets of half hints.
//!
//! The first half of a hint names its bucket, the second half is in it. A hash map of the kernel would take 96 bytes for each hint,
//! and more for its places; this takes 8 to 24. A bucket that is full lets every hint pass, and the gate decides.

use std::ops::Range;

use postern_proto::Hint;

use super::kernel::Bucket;
use crate::core::gate::HintTable;

/// In the last place of a bucket: every hint passes. No half is even.
pub(super) const ALL_PASS: u32 = 2;

/// Set in every half, so that none is equal to a free place.
pub(super) const NOT_FREE: u32 = 1;

/// Places are 16. With so many hints on average, one full bucket in 300 remains; with half of them, one in a million.
const HINTS_A_BUCKET: u32 = 8;

/// The buckets for this many hints.
pub(super) fn needed(hints: u32) -> u32 {
    hints.div_ceil(HINTS_A_BUCKET).max(1)
}

/// Some of `length` buckets, with the hints of a table.
pub(super) fn filled(table: &HintTable, range: Range<u32>, length: u32) -> Vec<Bucket> {
    let mut buckets = vec![Bucket::default(); range.len()];
    let (from, to) = (
        first_hint(range.start, length),
        first_hint(range.end, length),
    );
    for hint in table.hints_between(from, to) {
        let (index, half) = split(hint, length);
        let at = index
            .checked_sub(range.start)
            .and_then(|at| usize::try_from(at).ok());
        if let Some(bucket) = at.and_then(|at| buckets.get_mut(at)) {
            put(bucket, half);
        }
    }
    buckets
}

/// The bucket of a hint, and the half that is in it. The program computes the same.
fn split(Hint(hint): Hint, length: u32) -> (u32, u32) {
    let [a, b, c, d, half @ ..] = hint;
    let first = u64::from(u32::from_be_bytes([a, b, c, d]));
    let index = first.wrapping_mul(u64::from(length)) >> 32;
    (
        u32::try_from(index).unwrap_or(u32::MAX),
        u32::from_ne_bytes(half) | NOT_FREE,
    )
}

/// The least hint, as a number, of a bucket.
fn first_hint(bucket: u32, length: u32) -> u64 {
    let first = (u64::from(bucket) << 32).div_ceil(u64::from(length.max(1)));
    first.saturating_mul(1 << 32)
}

fn put(Bucket(places): &mut Bucket, half: u32) {
    match places.iter_mut().find(|place| **place == 0) {
        Some(place) => *place = half,
        None => places
            .last_mut()
            .into_iter()
            .for_each(|last| *last = ALL_PASS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_proto::{GateName, HintKey, KeyMaterial, RootKey, SharedKey, Step};

    fn passes(buckets: &[Bucket], hint: Hint) -> bool {
        let (index, half) = split(hint, u32::try_from(buckets.len()).unwrap());
        let Bucket(places) = buckets[usize::try_from(index).unwrap()];
        places.contains(&half) || places[15] == ALL_PASS
    }

    #[test]
    fn known_hints_pass_in_any_number_of_buckets() {
        let gate = GateName::new("gate.example.org").unwrap();
        let key = |number: u32| -> HintKey {
            let mut bytes = [7; 32];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            RootKey::extract(&gate, &KeyMaterial::shared(&SharedKey::from_bytes(bytes))).hint_key()
        };
        let table = HintTable::build(&(0..1000).map(key).collect(), 7..=9);
        for (length, most) in [(1, 1000), (7, 1000), (375, 40), (1500, 0)] {
            let parts = (0..length).step_by(100);
            let parts = parts.map(|first| filled(&table, first..length.min(first + 100), length));
            let buckets: Vec<Bucket> = parts.flatten().collect();
            assert!(table.hints().all(|hint| passes(&buckets, hint)), "{length}");
            let unknown = (1000..2000).map(|number| key(number).hint(Step(7)));
            let passed = unknown.filter(|hint| passes(&buckets, *hint)).count();
            assert!(passed <= most, "{passed} of 1,000 in {length} buckets");
        }
    }

    #[test]
    fn no_hint_passes_in_a_free_place() {
        for last in [0, 1, 2] {
            let hint = Hint([0, 0, 0, 0, last, 0, 0, last]);
            assert!(!passes(&[Bucket::default()], hint), "{last}");
        }
    }
}
