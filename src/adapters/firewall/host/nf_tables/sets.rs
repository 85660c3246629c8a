//! The elements of the sets and maps that rules look up.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::bytes::{self, Range};
use super::dump::{Dumps, Kind, Question};
use super::expression::verdict;
use crate::adapters::netlink::NetlinkError;
use crate::adapters::netlink::attributes::{each, find, text};
use crate::core::host_rules::Verdict;
use crate::model::host_set::HostSet;

const INTERVAL: u32 = 0x04;
const TIMEOUT: u32 = 0x10;
const CONCATENATION: u32 = 0x80;
const INTERVAL_END: u32 = 1;
const CATCH_ALL: u32 = 2;

#[derive(Debug, Default)]
pub(super) struct Set {
    pub(super) key_length: usize,
    /// Its name, if grants may be added to it because its elements may have an end.
    pub(super) for_grants: Option<HostSet>,
    pub(super) elements: Vec<Element>,
    /// What the map has for every other key.
    pub(super) rest: Option<Element>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) keys: Range,
    /// `None` for an element of a set, and for other data.
    pub(super) verdict: Option<Verdict>,
}

/// Key length and flags of each set of a table.
type Descriptions = HashMap<String, (usize, u32)>;

#[derive(Default)]
struct Listed {
    starts: Vec<Element>,
    /// First keys behind an interval.
    ends: Vec<Vec<u8>>,
    rest: Option<Element>,
}

/// Reads each set once, when the first rule looks it up, until it must forget them.
pub(super) struct Sets<D> {
    source: D,
    tables: HashMap<(u8, String), Descriptions>,
    read: HashMap<(u8, String, String), Option<Arc<Set>>>,
    /// Names that were asked for since the last call of `take_asked`.
    asked: BTreeSet<String>,
}

impl<D: Dumps> Sets<D> {
    pub(super) fn new(source: D) -> Self {
        Self {
            source,
            tables: HashMap::new(),
            read: HashMap::new(),
            asked: BTreeSet::new(),
        }
    }

    pub(super) fn take_asked(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.asked)
    }

    /// Others may change the sets from now on.
    pub(super) fn forget(&mut self) {
        self.tables.clear();
        self.read.clear();
    }

    /// `None` if there is no such set, or if it cannot be read.
    pub(super) fn get(&mut self, family: u8, table: &str, name: &str) -> Option<Arc<Set>> {
        let key = (family, table.to_owned(), name.to_owned());
        if !self.asked.contains(name) {
            self.asked.insert(name.to_owned());
        }
        if let Some(known) = self.read.get(&key) {
            return known.clone();
        }
        let set = self.list(family, table, name).ok().flatten().map(Arc::new);
        self.read.insert(key, set.clone());
        set
    }

    fn list(&mut self, family: u8, table: &str, name: &str) -> Result<Option<Set>, NetlinkError> {
        let key = (family, table.to_owned());
        if !self.tables.contains_key(&key) {
            let question = Question::of_table(Kind::Set, family, table);
            let read = |all: &mut Descriptions, _, set: &[u8]| all.extend(description(set));
            let found = self.source.dump(question, read)?;
            self.tables.insert(key.clone(), found);
        }
        let known = self.tables.get(&key).and_then(|sets| sets.get(name));
        let Some((key_length, flags)) = known.copied() else {
            return Ok(None);
        };
        let question = Question {
            part: Some(name),
            ..Question::of_table(Kind::Element, family, table)
        };
        let listed = self.source.dump(question, |all: &mut Listed, _, message| {
            for element in each(find(message, 3).unwrap_or_default()).flatten() {
                all.add(element.1);
            }
        })?;
        let elements = if flags & INTERVAL != 0 && flags & CONCATENATION == 0 {
            intervals(listed.starts, listed.ends)
        } else {
            listed.starts
        };
        Ok(Some(Set {
            key_length,
            for_grants: host_set(family, table, name).filter(|_| flags & TIMEOUT != 0),
            elements,
            rest: listed.rest,
        }))
    }
}

fn host_set(family: u8, table: &str, name: &str) -> Option<HostSet> {
    let family = match family {
        1 => "inet",
        2 => "ip",
        10 => "ip6",
        _ => return None,
    };
    format!("{family} {table} {name}").parse().ok()
}

fn description(set: &[u8]) -> Option<(String, (usize, u32))> {
    let number = |kind| {
        let value = find(set, kind)?;
        value.try_into().ok().map(u32::from_be_bytes)
    };
    let length = usize::try_from(number(5)?).ok()?;
    Some((text(find(set, 2)?), (length, number(3).unwrap_or(0))))
}

impl Listed {
    fn add(&mut self, attributes: &[u8]) {
        let number = |value: &[u8]| value.try_into().map_or(0, u32::from_be_bytes);
        let flags = find(attributes, 3).map_or(0, number);
        let value = |kind| Some(find(find(attributes, kind)?, 1)?.to_vec());
        let first: Vec<u8> = value(1).unwrap_or_default();
        if flags & INTERVAL_END != 0 {
            self.ends.push(first);
            return;
        }
        let element = Element {
            keys: Range {
                last: value(10).unwrap_or_else(|| first.clone()),
                first,
            },
            verdict: find(attributes, 2)
                .and_then(|data| find(data, 2))
                .map(verdict),
        };
        if flags & CATCH_ALL != 0 {
            self.rest = Some(element);
        } else {
            self.starts.push(element);
        }
    }
}

/// An interval goes from its start to the next end. The last one may have none.
fn intervals(mut starts: Vec<Element>, mut ends: Vec<Vec<u8>>) -> Vec<Element> {
    starts.sort_by(|one, other| one.keys.first.cmp(&other.keys.first));
    ends.sort();
    let mut ends = ends.into_iter().peekable();
    for element in &mut starts {
        while ends.next_if(|end| *end <= element.keys.first).is_some() {}
        element.keys.last = ends
            .peek()
            .and_then(|end| bytes::predecessor(end))
            .unwrap_or_else(|| vec![0xff; element.keys.first.len()]);
    }
    starts
}
