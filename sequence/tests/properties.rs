//! What holds for every keyed sequence.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use postern_sequence::{HITS_MAX, Key, Shape, ports};
use proptest::prelude::*;

proptest! {
    #[test]
    fn ports_are_distinct_and_in_range(
        key: [u8; 32], step: u64, first in 1..60_000_u16, count in 32..5_000_u16, hits in 1..=HITS_MAX,
    ) {
        let Ok(shape) = Shape::new(first, first + count, hits) else { return Ok(()) };
        let found = ports(&Key::from_bytes(key), step, shape);
        prop_assert_eq!(found.len(), hits);
        prop_assert!(found.iter().all(|port| (first..=first + count).contains(port)));
        let distinct: BTreeSet<u16> = found.iter().copied().collect();
        prop_assert_eq!(distinct.len(), hits);
    }

    #[test]
    fn steps_and_keys_have_their_own_ports(key: [u8; 32], other: [u8; 32], step: u64) {
        prop_assume!(key != other);
        let shape = Shape::new(20_000, 60_000, 8).unwrap();
        let key = Key::from_bytes(key);
        let found = ports(&key, step, shape);
        prop_assert_eq!(&found, &ports(&key, step, shape));
        prop_assert_ne!(&found, &ports(&key, step.wrapping_add(1), shape));
        prop_assert_ne!(&found, &ports(&Key::from_bytes(other), step, shape));
    }
}

#[test]
fn every_port_is_equally_likely() {
    let shape = Shape::new(40_000, 40_099, 10).unwrap();
    let key = Key::from_bytes([9; 32]);
    let mut counts = [0_u32; 100];
    for port in (0..10_000).flat_map(|step| ports(&key, step, shape)) {
        *counts.get_mut(usize::from(port) - 40_000).unwrap() += 1;
    }
    // 1,000 are expected; five standard deviations are 150.
    assert!(
        counts.iter().all(|count| (850..=1_150).contains(count)),
        "{counts:?}"
    );
}
