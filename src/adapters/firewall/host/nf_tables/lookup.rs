//! What it means that a key is in a set.

use super::bytes::Range;
use super::fields::Context;
use super::registers::Load;
use super::sets::{Element, Set};
use crate::core::host_rules::{Condition, Test};
use crate::model::address::Family;

/// The fields of a key, each with its place.
type Key<'a> = [(&'a Load, usize, usize)];

/// The conditions that together say: the key is one of the elements.
pub(super) fn in_elements<'e>(
    key: &Key<'_>,
    context: Context<'_>,
    elements: impl Iterator<Item = &'e Element>,
) -> Vec<Condition> {
    let keys = elements.map(|element| &element.keys);
    if let [(load, _, _)] = key {
        let ranges: Vec<Range> = keys.cloned().collect();
        return context.compare(load, &ranges);
    }
    let list = |keys: &Range| -> Vec<Condition> {
        key.iter()
            .flat_map(|(load, from, to)| match keys.part(*from, *to) {
                Some(range) => context.compare(load, &[range]),
                None => vec![Condition::unknown()],
            })
            .collect()
    };
    vec![Condition::is(Test::AnyOf(keys.map(list).collect()))]
}

/// The same for a set of sources that grants may be added to.
pub(super) fn in_set(
    key: &Key<'_>,
    context: Context<'_>,
    set: &Set,
    elements: Vec<Condition>,
) -> Vec<Condition> {
    let source = key.first().map(|(load, ..)| *load);
    let source = source.filter(|load| context.is_source(load));
    match (&set.for_grants, source) {
        (Some(set), Some(load)) => vec![Condition::is(Test::InSet {
            set: set.clone(),
            family: if load.length == 4 {
                Family::V4
            } else {
                Family::V6
            },
            elements,
        })],
        _ => elements,
    }
}
