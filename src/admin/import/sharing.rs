//! Stanzas that share a key: fwknopd asks them in their order, and so does the gate.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::access::Stanza;
use super::converted::Turn;
use super::reading::Reading;
use super::stanza_keys;
use crate::model::foreign::{Findings, Verdict};

/// The turns of stanzas.
pub(super) struct Sharing {
    /// The keys of each stanza, and its turn if others have the same.
    turns: Vec<Option<(Zeroizing<String>, Option<Turn>)>>,
    /// Keys of stanzas that are not converted as they are.
    changed: Vec<Zeroizing<String>>,
}

impl Sharing {
    pub(super) fn of<'a>(stanzas: impl Iterator<Item = &'a Stanza>) -> Self {
        let keys: Vec<Option<Zeroizing<String>>> = stanzas.map(own).collect();
        let mut counts: BTreeMap<&str, (u16, Turn)> = BTreeMap::new();
        for (group, key) in keys.iter().enumerate() {
            if let Some(key) = key {
                let first = Turn { group, order: 0 };
                let (count, _) = counts.entry(key).or_insert((0, first));
                *count = count.saturating_add(1);
            }
        }
        let turns = keys.iter().map(|key| {
            let key = key.as_ref()?;
            let (all, turn) = counts.get_mut(key.as_str())?;
            turn.order = turn.order.saturating_add(1);
            Some((key.clone(), (*all > 1).then_some(*turn)))
        });
        let turns = turns.collect();
        Self {
            turns,
            changed: Vec::new(),
        }
    }

    /// The turn of the stanza of this index, if others share its keys.
    pub(super) fn turn(&self, index: usize) -> Option<Turn> {
        self.turns.get(index)?.as_ref()?.1
    }

    /// Whether fwknopd would ask another stanza with the same keys first, and that one is not converted as it is.
    pub(super) fn is_shadowed(&self, index: usize) -> bool {
        let key = self.turns.get(index).and_then(Option::as_ref);
        key.is_some_and(|(key, _)| self.changed.contains(key))
    }

    /// The stanza of this index is not converted as it is.
    pub(super) fn change(&mut self, index: usize) {
        let key = self.turns.get(index).and_then(Option::as_ref);
        self.changed.extend(key.map(|(key, _)| key.clone()));
    }
}

fn own(stanza: &Stanza) -> Option<Zeroizing<String>> {
    let mut findings = Findings::default();
    let mut reading = Reading {
        stanza,
        findings: &mut findings,
        refused: false,
    };
    stanza_keys::read(&mut reading).map(|keys| keys.own().clone())
}

/// Whether a stanza with these findings admits other requests than before.
pub(super) fn is_changed(findings: &Findings, before: usize, has_user: bool) -> bool {
    let mut new = findings.0.iter().skip(before);
    let narrows = ["FORCE_NAT", "CMD_CYCLE_OPEN", "FORWARD_ALL"];
    !has_user || new.any(|one| one.verdict == Verdict::Narrow && narrows.contains(&one.setting))
}
