//! The grants that the driver has opened, and which grants need which element. Pure.
//!
//! Two grants may need the same element, for instance two users behind one address. The element then lasts until the
//! later end, and is deleted with the last grant.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::elements::{self, Element, ElementChange};
use super::record::{self, RecordError};
use super::sets::RANK_MIDDLE;
use crate::model::grant::{Change, Grant, GrantId};
use crate::model::time::Timestamp;

#[derive(Debug, Default)]
pub(super) struct OpenGrants {
    grants: BTreeMap<GrantId, OpenGrant>,
    owners: HashMap<Element, BTreeSet<Owner>>,
    rank: u32,
}

type Owner = (Timestamp, GrantId);

#[derive(Debug, Clone)]
struct OpenGrant {
    grant: Grant,
    /// What `nft list` shows beside its elements.
    comment: Vec<u8>,
    ranges: Vec<Element>,
}

impl OpenGrant {
    fn record(&self) -> Result<Vec<(Element, Vec<u8>)>, RecordError> {
        record::elements(&self.grant, &self.comment)
    }
}

#[derive(Debug)]
#[must_use]
pub(super) struct Undo {
    opened: Option<GrantId>,
    closed: Option<OpenGrant>,
}

impl OpenGrants {
    pub(super) fn change(
        &mut self,
        change: &Change,
        changes: &mut Vec<ElementChange>,
    ) -> Result<Undo, RecordError> {
        let (told, new) = change.grants();
        let known = self.grants.get(&told.id).map(|open| open.grant.clone());
        let is_recorded = known.is_some() || new.is_none();
        let told = (!matches!(change, Change::Open(_))).then(|| told.clone());
        let old = known.or(told);
        let opened = new.map(|grant| self.with_ranges(grant));
        let record = opened.as_ref().map(OpenGrant::record);
        let record = record.transpose()?.unwrap_or_default();
        let old_record = old.as_ref().filter(|_| is_recorded).map(record::keys);
        let old_record = old_record.transpose()?.unwrap_or_default();

        let touched = old.iter().chain(new).flat_map(exact);
        let touched: BTreeSet<Element> = touched.collect();
        let before = touched.iter().map(|element| self.last_owner(element));
        let before: Vec<Option<Owner>> = before.collect();
        let closed = self.remove(change.id());
        if let Some(closed) = &closed {
            changes.extend(closed.ranges.iter().cloned().flat_map(Element::delete));
        }
        if let Some(open) = opened {
            let until = open.grant.until;
            let ranges = open.ranges.iter().cloned();
            changes.extend(ranges.flat_map(|range| range.add(until, open.comment.clone())));
            self.insert(open);
        }
        for (element, before) in touched.into_iter().zip(before) {
            self.change_shared(element, before, changes);
        }
        changes.extend(old_record.into_iter().flat_map(Element::delete));
        if let Some(grant) = new {
            for (element, userdata) in record {
                changes.extend(element.add(grant.until, userdata));
            }
        }
        Ok(Undo {
            opened: new.map(|grant| grant.id),
            closed,
        })
    }

    pub(super) fn undo(&mut self, undo: Undo) {
        if let Some(id) = undo.opened {
            self.remove(id);
        }
        if let Some(open) = undo.closed {
            self.insert(open);
        }
    }

    pub(super) fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.grants.values().map(|open| &open.grant)
    }

    pub(super) fn has(&self, id: GrantId) -> bool {
        self.grants.contains_key(&id)
    }

    /// The elements that exist until after this time, with those of the record.
    pub(super) fn elements_after(&self, after: Timestamp) -> Vec<Element> {
        let owned = self.owners.iter();
        let mut elements: Vec<Element> = owned
            .filter(|(_, owners)| owners.last().is_some_and(|(until, _)| *until > after))
            .map(|(element, _)| element.clone())
            .collect();
        for open in self.grants.values().filter(|open| open.grant.until > after) {
            elements.extend(open.ranges.iter().cloned());
            elements.extend(record::keys(&open.grant).unwrap_or_default());
        }
        elements
    }

    pub(super) fn ranks_run_out(&self) -> bool {
        self.rank > RANK_MIDDLE - (1 << 24)
    }

    /// Brings an exact element from its end before the change to its end now.
    fn change_shared(
        &self,
        element: Element,
        before: Option<Owner>,
        changes: &mut Vec<ElementChange>,
    ) {
        let comment = |id| {
            let open = self.grants.get(&id);
            open.map_or_else(Vec::new, |open| open.comment.clone())
        };
        match (before, self.last_owner(&element)) {
            (before, after) if before == after && before.is_some() => {}
            (None, Some((until, id))) => changes.extend(element.add(until, comment(id))),
            (Some(_), Some((until, id))) => changes.extend(element.renew(until, comment(id))),
            (_, None) => changes.extend(element.delete()),
        }
    }

    fn last_owner(&self, element: &Element) -> Option<Owner> {
        self.owners.get(element)?.last().copied()
    }

    fn with_ranges(&mut self, grant: &Grant) -> OpenGrant {
        let mut ranges = Vec::new();
        for element in elements::of_grant(grant) {
            if element.set.has_rank() {
                self.rank = self.rank.saturating_add(1);
                ranges.push(element.ranked(self.rank));
            }
        }
        OpenGrant {
            grant: grant.clone(),
            comment: record::comment(grant),
            ranges,
        }
    }

    fn insert(&mut self, open: OpenGrant) {
        let owner = (open.grant.until, open.grant.id);
        for element in exact(&open.grant) {
            self.owners.entry(element).or_default().insert(owner);
        }
        self.grants.insert(open.grant.id, open);
    }

    fn remove(&mut self, id: GrantId) -> Option<OpenGrant> {
        let open = self.grants.remove(&id)?;
        for element in exact(&open.grant) {
            if let Some(owners) = self.owners.get_mut(&element) {
                owners.remove(&(open.grant.until, id));
                if owners.is_empty() {
                    self.owners.remove(&element);
                }
            }
        }
        Some(open)
    }
}

fn exact(grant: &Grant) -> impl Iterator<Item = Element> {
    let elements = elements::of_grant(grant).into_iter();
    elements.filter(|element| !element.set.has_rank())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::fixture;

    fn grant(id: u64, service: &str, until: u64) -> Grant {
        Grant {
            until: Timestamp::from_millis(until),
            ..fixture::grant(id, "alice", "192.0.2.7/32", &[service])
        }
    }

    #[test]
    fn changes_cost_the_same_with_many() {
        let mut open = OpenGrants::default();
        let counts = |open: &mut OpenGrants, id| {
            let (old, new) = (grant(id, "tcp/22", 100), grant(id, "tcp/22", 200));
            let extend = Change::Extend {
                old: old.clone(),
                new: new.clone(),
            };
            [Change::Open(old), extend, Change::Close(new)].map(|change| {
                let mut elements = Vec::new();
                let _ = open.change(&change, &mut elements);
                elements.len()
            })
        };
        let first = counts(&mut open, 9_000);
        for id in 0..5_000 {
            let mut other = grant(id, "tcp/22", 300);
            other.allow = format!("198.51.{}.{}/32", id / 256, id % 256)
                .parse()
                .unwrap();
            let _ = open.change(&Change::Open(other), &mut Vec::new());
        }
        assert_eq!(counts(&mut open, 9_000), first);
    }

    #[test]
    fn undone_change_leaves_no_trace() {
        let (exact, range) = (grant(1, "tcp/22", 100), grant(2, "tcp/20-30", 200));
        let mut open = OpenGrants::default();
        for grant in [&exact, &range] {
            let _ = open.change(&Change::Open(grant.clone()), &mut Vec::new());
        }
        let state = |open: &OpenGrants| format!("{:?} {:?}", open.grants, open.owners);
        let before = state(&open);
        let new = grant(2, "tcp/20-30", 900);
        for undone in [
            Change::Open(grant(3, "tcp/22", 900)),
            Change::Extend { old: range, new },
            Change::Close(exact),
        ] {
            let undo = open.change(&undone, &mut Vec::new()).unwrap();
            assert_ne!(state(&open), before);
            open.undo(undo);
            assert_eq!(state(&open), before);
        }
    }
}
