//! Who holds which element: the driver's memory of what stands in the kernel.
//!
//! Two grants may need the same element, such as two users behind one address. The element then lasts as long as the one that ends
//! last, and goes with the last one. Owns that rule, and the steps that lead from one state to the next. Pure: it learns
//! from the driver whether the kernel took them, and takes a change back where it did not.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::elements::{self, Element, Step};
use super::record;
use super::sets::RANK_MIDDLE;
use crate::model::grant::{Change, Grant, GrantId};
use crate::model::time::Timestamp;

/// The grants that stand, and their elements.
#[derive(Debug, Default)]
pub(super) struct Holders {
    grants: BTreeMap<GrantId, Held>,
    /// Who needs each exact element; the last one leads: it ends last.
    elements: HashMap<Element, BTreeSet<Hold>>,
    /// Greatest rank given to a range.
    rank: u32,
}

type Hold = (Timestamp, GrantId);

#[derive(Debug, Clone)]
struct Held {
    grant: Grant,
    /// Its ranges, which it shares with no other grant.
    ranges: Vec<Element>,
}

/// What takes a change back.
#[derive(Debug)]
#[must_use]
pub(super) struct Undo {
    opened: Option<GrantId>,
    closed: Option<Held>,
}

impl Holders {
    /// Makes the change here, and adds the steps that make it in the kernel.
    ///
    /// # Errors
    /// Where the grant can't be recorded. Nothing has changed then.
    pub(super) fn change(
        &mut self,
        change: &Change,
        steps: &mut Vec<Step>,
    ) -> Result<Undo, String> {
        let (old, new) = match change {
            Change::Open(grant) => (grant, Some(grant)),
            Change::Extend { old, new } => (old, Some(new)),
            Change::Close(grant) => (grant, None),
        };
        let old = self
            .grants
            .get(&old.id)
            .map_or_else(|| old.clone(), |held| held.grant.clone());
        let record = new.map(record::elements).transpose()?.unwrap_or_default();
        let old_record = record::elements(&old)?;

        let exact = |grant: &Grant| {
            elements::of(grant)
                .into_iter()
                .filter(|element| !element.set.ranges())
        };
        let touched: BTreeSet<Element> =
            exact(&old).chain(new.into_iter().flat_map(exact)).collect();
        let before: Vec<Option<Hold>> =
            touched.iter().map(|element| self.leader(element)).collect();
        let closed = self.take(old.id);
        let known = closed.is_some();
        steps.extend(
            closed
                .iter()
                .flat_map(|held| &held.ranges)
                .cloned()
                .flat_map(Element::clear),
        );
        if let Some(grant) = new {
            let held = self.ranked(grant);
            steps.extend(
                held.ranges
                    .iter()
                    .cloned()
                    .flat_map(|range| range.add(grant.until, record::comment(grant))),
            );
            self.put(held);
        }
        for (element, before) in touched.into_iter().zip(before) {
            self.lead(element, before, steps);
        }
        if known || new.is_none() {
            steps.extend(
                old_record
                    .into_iter()
                    .flat_map(|(element, _)| element.clear()),
            );
        }
        if let Some(grant) = new {
            steps.extend(
                record
                    .into_iter()
                    .flat_map(|(element, userdata)| element.add(grant.until, userdata)),
            );
        }
        Ok(Undo {
            opened: new.map(|grant| grant.id),
            closed,
        })
    }

    /// As before the change.
    pub(super) fn undo(&mut self, undo: Undo) {
        if let Some(id) = undo.opened {
            self.take(id);
        }
        if let Some(held) = undo.closed {
            self.put(held);
        }
    }

    /// All grants, by number.
    pub(super) fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.grants.values().map(|held| &held.grant)
    }

    /// The elements that stand until after this time, those of the record too.
    pub(super) fn lasting(&self, after: Timestamp) -> Vec<Element> {
        let lasts = |holds: &BTreeSet<Hold>| holds.last().is_some_and(|(until, _)| *until > after);
        let exact = self
            .elements
            .iter()
            .filter(|(_, holds)| lasts(holds))
            .map(|(element, _)| element.clone());
        let of_one = |held: &Held| {
            let recorded = record::elements(&held.grant).unwrap_or_default();
            held.ranges
                .iter()
                .cloned()
                .chain(recorded.into_iter().map(|(element, _)| element))
                .collect::<Vec<_>>()
        };
        exact
            .chain(
                self.grants
                    .values()
                    .filter(|held| held.grant.until > after)
                    .flat_map(of_one),
            )
            .collect()
    }

    /// Whether there are ranks for no more than a few more ranges.
    pub(super) fn ranks_run_out(&self) -> bool {
        self.rank > RANK_MIDDLE - (1 << 24)
    }

    /// Steps for an element whose leader was `before`.
    fn lead(&self, element: Element, before: Option<Hold>, steps: &mut Vec<Step>) {
        let after = self.leader(&element);
        let comment = |id| {
            self.grants
                .get(&id)
                .map(|held| record::comment(&held.grant))
                .unwrap_or_default()
        };
        match (before, after) {
            (None, Some((until, id))) => steps.extend(element.add(until, comment(id))),
            (Some(before), Some(after)) if before == after => {}
            (Some(_), Some((until, id))) => steps.extend(element.renew(until, comment(id))),
            (_, None) => steps.extend(element.clear()),
        }
    }

    fn leader(&self, element: &Element) -> Option<Hold> {
        self.elements
            .get(element)
            .and_then(|holds| holds.last())
            .copied()
    }

    fn ranked(&mut self, grant: &Grant) -> Held {
        let mut ranges: Vec<Element> = elements::of(grant)
            .into_iter()
            .filter(|element| element.set.ranges())
            .collect();
        for range in &mut ranges {
            self.rank = self.rank.saturating_add(1);
            *range = range.clone().ranked(self.rank);
        }
        Held {
            grant: grant.clone(),
            ranges,
        }
    }

    fn put(&mut self, held: Held) {
        for element in elements::of(&held.grant)
            .into_iter()
            .filter(|element| !element.set.ranges())
        {
            self.elements
                .entry(element)
                .or_default()
                .insert((held.grant.until, held.grant.id));
        }
        self.grants.insert(held.grant.id, held);
    }

    fn take(&mut self, id: GrantId) -> Option<Held> {
        let held = self.grants.remove(&id)?;
        for element in elements::of(&held.grant)
            .into_iter()
            .filter(|element| !element.set.ranges())
        {
            if let Some(holds) = self.elements.get_mut(&element) {
                holds.remove(&(held.grant.until, id));
                if holds.is_empty() {
                    self.elements.remove(&element);
                }
            }
        }
        Some(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::firewall::nftables::elements::Act;
    use crate::adapters::firewall::nftables::sets::Set;

    fn grant(id: u64, user: &str, service: &str, until: u64) -> Grant {
        Grant {
            id: GrantId(id),
            user: user.to_owned(),
            allow: "192.0.2.7/32".parse().unwrap(),
            target: None,
            services: vec![service.parse().unwrap()],
            forwards: Vec::new(),
            until: Timestamp::from_millis(until),
        }
    }

    /// What a change does to elements other than the record's, in words.
    fn change(holders: &mut Holders, change: &Change) -> Vec<String> {
        let mut steps = Vec::new();
        let _ = holders.change(change, &mut steps).unwrap();
        let steps = steps.iter().filter(|step| step.element.set != Set::Record);
        steps
            .map(|step| match &step.act {
                Act::Add { until, .. } => format!("add {}", until.as_millis()),
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn an_element_of_two_grants_lasts_as_long_as_the_later_and_goes_with_the_last() {
        let (alice, bob) = (
            grant(1, "alice", "tcp/22", 100),
            grant(2, "bob", "tcp/22", 200),
        );
        let mut holders = Holders::default();
        assert_eq!(
            change(&mut holders, &Change::Open(alice.clone())),
            ["add 100"]
        );
        assert_eq!(
            change(&mut holders, &Change::Open(bob.clone())),
            ["Touch", "Delete", "add 200"]
        );
        assert_eq!(
            change(&mut holders, &Change::Close(bob)),
            ["Touch", "Delete", "add 100"]
        );
        assert_eq!(
            change(&mut holders, &Change::Close(alice)),
            ["Touch", "Delete"]
        );
        assert!(holders.elements.is_empty() && holders.grants.is_empty());
    }

    #[test]
    fn a_grant_that_ends_earlier_leaves_the_element_as_it_is() {
        let (alice, bob) = (
            grant(1, "alice", "tcp/22", 300),
            grant(2, "bob", "tcp/22", 200),
        );
        let mut holders = Holders::default();
        change(&mut holders, &Change::Open(alice));
        assert!(change(&mut holders, &Change::Open(bob.clone())).is_empty());
        assert!(change(&mut holders, &Change::Close(bob)).is_empty());
    }

    #[test]
    fn a_change_that_is_taken_back_leaves_no_trace() {
        let (alice, bob) = (
            grant(1, "alice", "tcp/22", 100),
            grant(2, "bob", "tcp/20-30", 200),
        );
        let mut holders = Holders::default();
        change(&mut holders, &Change::Open(alice.clone()));
        change(&mut holders, &Change::Open(bob.clone()));
        let before = format!("{:?} {:?}", holders.grants, holders.elements);
        for taken_back in [
            Change::Open(grant(3, "eve", "tcp/22", 900)),
            Change::Extend {
                old: bob,
                new: grant(2, "bob", "tcp/20-30", 900),
            },
            Change::Close(alice),
        ] {
            let undo = holders.change(&taken_back, &mut Vec::new()).unwrap();
            assert_ne!(
                format!("{:?} {:?}", holders.grants, holders.elements),
                before
            );
            holders.undo(undo);
            assert_eq!(
                format!("{:?} {:?}", holders.grants, holders.elements),
                before
            );
        }
    }

    #[test]
    fn ranges_are_never_shared_and_each_has_a_greater_rank_than_all_before() {
        let mut holders = Holders::default();
        let mut steps = Vec::new();
        for id in 1..=3 {
            let _ = holders
                .change(
                    &Change::Open(grant(id, "alice", "tcp/20-30", 100)),
                    &mut steps,
                )
                .unwrap();
        }
        let keys: Vec<&Vec<u8>> = steps
            .iter()
            .filter(|step| step.element.set.ranges())
            .map(|step| &step.element.key)
            .collect();
        assert_eq!(keys.len(), 3);
        assert!(
            keys.is_sorted_by(|a, b| a > b),
            "the lower corner falls: {keys:?}"
        );
    }
}
