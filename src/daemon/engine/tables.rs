//! Keys and hint tables of many users: computed on all processors at the start, and on one thread of low priority later.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::thread;

use postern_proto::KeyMaterial;

use crate::adapters::config;
use crate::core::gate::{HintKeys, HintTable, KeyRows, StepHints};
use crate::model::settings::Settings;

/// A thread costs more than this many users.
const PART_MIN: usize = 1024;

const PARTS_MAX: usize = 8;

/// What the gate derives from the keys of users.
pub(super) fn rows(settings: &Settings, keys: &[KeyMaterial]) -> Vec<KeyRows> {
    let names = settings.gate_names();
    in_parts(keys.len(), processors(), |range| {
        let policies = settings.policies.get(range.clone()).unwrap_or_default();
        let keys = keys.get(range).unwrap_or_default();
        let rows = KeyRows::derive(&names, policies, keys);
        zeroize::zeroize_stack::<{ config::STACK }>();
        rows
    })
}

/// The table of these steps. Those that the last table has are not computed again.
pub(super) fn first(keys: &HintKeys, steps: RangeInclusive<u64>, last: &HintTable) -> HintTable {
    table(keys, steps, last, processors())
}

/// The same on this thread alone.
pub(super) fn next(keys: &HintKeys, steps: RangeInclusive<u64>, last: &HintTable) -> HintTable {
    table(keys, steps, last, 1)
}

fn table(keys: &HintKeys, steps: RangeInclusive<u64>, last: &HintTable, most: usize) -> HintTable {
    let computed = |step| {
        let parts = in_parts(keys.len(), most, |rows| keys.hints(step, rows));
        Arc::new(StepHints::of(step, &parts))
    };
    let steps = steps.map(|step| last.step(step).unwrap_or_else(|| computed(step)));
    HintTable::of_steps(steps.collect())
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// The results of all parts, in order, each from a thread of its own. If a thread cannot be started, this one does its part.
fn in_parts<T: Send>(
    length: usize,
    most: usize,
    work: impl Fn(Range<usize>) -> T + Sync,
) -> Vec<T> {
    let parts = (length / PART_MIN).clamp(1, most.clamp(1, PARTS_MAX));
    let size = length.div_ceil(parts).max(1);
    let ranges = (0..parts).map(|part| {
        let first = part.saturating_mul(size).min(length);
        first..first.saturating_add(size).min(length)
    });
    let work = &work;
    thread::scope(|scope| {
        let started = ranges.skip(1).map(|range| {
            let own = range.clone();
            let thread = thread::Builder::new().spawn_scoped(scope, move || work(own));
            (range, thread)
        });
        let started: Vec<_> = started.collect();
        let mut results = vec![work(0..size.min(length))];
        results.extend(started.into_iter().map(|(range, thread)| {
            let done = thread.ok().and_then(|thread| thread.join().ok());
            done.unwrap_or_else(|| work(range))
        }));
        results
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_everything_in_order() {
        for (length, most) in [(0, 4), (1, 4), (5000, 1), (5000, 3), (5001, 4), (9000, 100)] {
            let parts = in_parts(length, most, |range| range);
            assert!(parts.len() <= most);
            let all = parts.into_iter().flatten();
            assert!(all.eq(0..length), "{length}");
        }
    }
}
