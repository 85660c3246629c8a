//! What should stand in one family's side of the firewall, and whether it does.
//!
//! Owns the comparison of a listing with what was installed and applied since. Changes nothing: putting it back is an
//! installation. Carries out invariant 10 for what others undo.

use std::collections::BTreeMap;

use super::family::Side;
use super::list::{self, Table};
use super::rules::{FORWARD, FORWARD_GRANTS, Family, INPUT, INPUT_GRANTS, forward_rules};
use crate::backend::BackendError;
use crate::grant::{Grant, GrantId};
use crate::run::Run;

/// What stands in the firewall since the last successful run.
pub(super) struct Standing {
    pub(super) live: BTreeMap<GrantId, Grant>,
    pub(super) forwards: bool,
    /// Where each rule of the chain [`INPUT`] leads, in order. The kernel's own wording of a rule's matches differs from ours.
    pub(super) verdicts: Vec<String>,
}

impl Side {
    /// Whether this family's rules are as the last successful run left them.
    pub(super) fn stands(&self, run: &mut dyn Run) -> Result<bool, BackendError> {
        let Some(standing) = &self.standing else { return Ok(true) };
        let table = self.save(run).map_err(|fault| fault.error())?;
        Ok(standing.is_in(self.family, &table))
    }
}

impl Standing {
    fn is_in(&self, family: Family, table: &Table) -> bool {
        let verdicts = |chain: &str| -> Vec<String> { table.of(chain).map(verdict).collect() };
        let forwarded = || is_reached(table, FORWARD_GRANTS) && verdicts(FORWARD) == forward_rules().map(|rule| verdict(&rule));
        // A rule in a grant chain that can't be read is not ours.
        let grants = || list::grants(family, table).is_ok_and(|grants| self.are_live(&grants));
        is_reached(table, INPUT_GRANTS) && verdicts(INPUT) == self.verdicts && (!self.forwards || forwarded()) && grants()
    }

    fn are_live(&self, grants: &[Grant]) -> bool {
        let sorted = |grant: &Grant| {
            let mut grant = grant.clone();
            grant.services.sort_unstable();
            grant
        };
        grants.len() == self.live.len() && grants.iter().all(|found| self.live.get(&found.id).map(sorted) == Some(sorted(found)))
    }
}

/// Where a rule leads.
pub(super) fn verdict(rule: &str) -> String {
    rule.rsplit("-j ").next().unwrap_or_default().to_owned()
}

/// Whether packets come through a grant chain at all.
pub(super) fn is_reached(table: &Table, chain: &str) -> bool {
    let (hook, own) = if chain == FORWARD_GRANTS { ("FORWARD", FORWARD) } else { ("INPUT", INPUT) };
    let has_jump = |from: &str, to: &str| table.of(from).any(|rule| rule.strip_prefix("-j ") == Some(to));
    table.has(chain) && has_jump(own, chain) && has_jump(hook, own)
}
