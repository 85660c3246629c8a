//! What should stand in one family's side of the firewall, and whether it does.
//!
//! Owns the comparison of a listing with what was installed and applied since. Changes nothing: putting it back is an
//! installation. Carries out invariant 10 for what others undo.

use std::collections::BTreeMap;

use super::behind;
use super::family::Side;
use super::grants;
use super::input::Needs;
use super::list::Tables;
use super::rules::{
    DNAT, FORWARD, FORWARD_GRANTS, Family, INPUT, INPUT_GRANTS, SNAT, protection_rules,
};
use super::watch::Runner;
use crate::adapters::firewall::FirewallError;
use crate::model::grant::{Grant, GrantId};
use crate::model::settings::Protection;

/// What stands in the firewall since the last successful run.
pub(super) struct Standing {
    pub(super) live: BTreeMap<GrantId, Grant>,
    pub(super) needs: Needs,
    /// Where each rule of the chains [`INPUT`] and [`FORWARD`] leads, in order. The kernel's own wording of a rule's matches differs from ours.
    verdicts: Vec<String>,
    forward_verdicts: Vec<String>,
    /// These rules as the kernel words them, since it was first listed with the right verdicts.
    wording: Option<[Vec<String>; 2]>,
}

impl Side {
    /// Whether this family's rules are as the last successful run left them.
    pub(super) fn stands(&mut self, run: &mut Runner) -> Result<bool, FirewallError> {
        let Some(needs) = self.standing.as_ref().map(|standing| standing.needs) else {
            return Ok(true);
        };
        let tables = self.save_own(run, needs).map_err(|fault| fault.error())?;
        let family = self.family;
        Ok(self
            .standing
            .as_mut()
            .is_none_or(|standing| standing.is_in(family, &tables)))
    }
}

impl Standing {
    pub(super) fn new(
        family: Family,
        protection: &Protection,
        live: &[&Grant],
        needs: Needs,
    ) -> Self {
        Self {
            live: live
                .iter()
                .map(|grant| (grant.id, (*grant).clone()))
                .collect(),
            needs,
            verdicts: protection_rules(family, protection)
                .iter()
                .map(|rule| verdict(rule))
                .collect(),
            forward_verdicts: behind::chain_rules(family, protection)
                .iter()
                .map(|rule| verdict(rule))
                .collect(),
            wording: None,
        }
    }

    /// What would have to be installed for this grant, and is not.
    pub(super) fn unmet_need_of(&self, grant: &Grant) -> Option<&'static str> {
        if grant.target.is_some() && !self.needs.forwards {
            return Some("forwarding is not installed, for no user has targets");
        }
        let is_missing = !grant.forwards.is_empty() && !self.needs.nat;
        is_missing.then_some(
            "address translation is not installed, for no user has a service that forwards",
        )
    }

    fn is_in(&mut self, family: Family, tables: &Tables) -> bool {
        let wording =
            [INPUT, FORWARD].map(|chain| tables.filter.of(chain).map(str::to_owned).collect());
        self.has_verdicts(family, tables)
            && *self.wording.get_or_insert_with(|| wording.clone()) == wording
    }

    fn has_verdicts(&self, family: Family, tables: &Tables) -> bool {
        let verdicts =
            |chain: &str| -> Vec<String> { tables.filter.of(chain).map(verdict).collect() };
        let forwarded =
            || is_reached(tables, FORWARD_GRANTS) && verdicts(FORWARD) == self.forward_verdicts;
        let translated = || is_reached(tables, DNAT) && is_reached(tables, SNAT);
        // A rule in a grant chain that can't be read is not ours.
        let grants = || {
            grants::read(family, tables)
                .is_ok_and(|grants| self.are_live(&grants) && self.are_whole(tables))
        };
        let is_protected = is_reached(tables, INPUT_GRANTS) && verdicts(INPUT) == self.verdicts;
        is_protected
            && (!self.needs.forwards || forwarded())
            && (!self.needs.nat || translated())
            && grants()
    }

    /// Whether each forward has all its rules: it is read back from any one of them.
    fn are_whole(&self, tables: &Tables) -> bool {
        let forwards = || self.live.values().flat_map(|grant| &grant.forwards);
        let services: usize = self
            .live
            .values()
            .filter(|grant| grant.target.is_some())
            .map(|grant| grant.services.len())
            .sum();
        let masqueraded = forwards().filter(|forward| forward.masquerade).count();
        let counts = [
            tables.filter.of(FORWARD_GRANTS).count(),
            tables.nat.of(DNAT).count(),
            tables.nat.of(SNAT).count(),
        ];
        counts
            == [
                services.saturating_add(forwards().count()),
                forwards().count(),
                masqueraded,
            ]
    }

    fn are_live(&self, grants: &[Grant]) -> bool {
        let sorted = |grant: &Grant| {
            let mut grant = grant.clone();
            grant.services.sort_unstable();
            grant.forwards.sort_unstable();
            grant
        };
        grants.len() == self.live.len()
            && grants
                .iter()
                .all(|found| self.live.get(&found.id).map(sorted) == Some(sorted(found)))
    }
}

/// Where a rule leads.
pub(super) fn verdict(rule: &str) -> String {
    rule.rsplit("-j ").next().unwrap_or_default().to_owned()
}

/// Whether packets come through a grant chain at all.
pub(super) fn is_reached(tables: &Tables, chain: &str) -> bool {
    let (table, hook, own) = match chain {
        DNAT => (&tables.nat, "PREROUTING", None),
        SNAT => (&tables.nat, "POSTROUTING", None),
        FORWARD_GRANTS => (&tables.filter, "FORWARD", Some(FORWARD)),
        _ => (&tables.filter, "INPUT", Some(INPUT)),
    };
    let has_jump = |from: &str, to: &str| {
        table
            .of(from)
            .any(|rule| rule.strip_prefix("-j ") == Some(to))
    };
    table.has(chain)
        && own.map_or_else(
            || has_jump(hook, chain),
            |own| has_jump(own, chain) && has_jump(hook, own),
        )
}
