//! Reads the host's rules, and changes those of Postern in them.

use std::path::PathBuf;

use super::iptables;
use super::plan::{describe, plan};
use crate::adapters::firewall::host::{self, Tools};
use crate::adapters::firewall::{FirewallError, nftables};
use crate::core::host_rules::accept_rules::{Change, removal};
use crate::core::host_rules::{Ruleset, Table};
use crate::model::run::Run;
use crate::model::settings::{HostRules, Interfaces, Protection};

/// How to read and change the host's rules.
pub(crate) struct HostAccess {
    pub(crate) run: Box<dyn Run + Send>,
    pub(crate) find: fn(&str) -> Option<PathBuf>,
    pub(crate) interfaces: Interfaces,
    pub(crate) keeper: HostRules,
    /// Whether the driver marks granted packets. If not, it accepts them in the chains of iptables itself, and can open
    /// nothing that an nft table drops.
    pub(crate) marks: bool,
}

impl HostAccess {
    pub(super) fn read(&mut self) -> Result<Ruleset, FirewallError> {
        let mut tools = Tools {
            run: &mut *self.run,
            find: self.find,
        };
        host::read_rules(&mut tools)
    }

    /// Inserts what is missing and deletes what is misplaced. The next check sees whether others changed
    /// the rules meanwhile. Returns the rules if nothing was to do.
    pub(super) fn open(
        &mut self,
        protection: &Protection,
    ) -> Result<Option<Ruleset>, FirewallError> {
        let ruleset = self.read()?;
        let changes = self.changes(&ruleset, protection)?;
        let Some(first) = changes.first() else {
            return Ok(Some(ruleset));
        };
        if !self.marks {
            return Err(FirewallError::HostDrops(format!(
                "{}, chain {} drops what iptables accepts; write backend = \"auto\" in [firewall]",
                first.table, first.chain
            )));
        }
        if self.keeper == HostRules::Mine {
            return Err(FirewallError::HostDrops(format!(
                "the host's own rules drop granted packets: {}; add the rules that posternd check --plan prints",
                describe(&changes)
            )));
        }
        self.carry_out(&changes).map(|()| None)
    }

    pub(super) fn changes(
        &self,
        ruleset: &Ruleset,
        protection: &Protection,
    ) -> Result<Vec<Change>, FirewallError> {
        let (interfaces, addresses) = host::interfaces(&self.interfaces);
        let mut changes = plan(ruleset, protection, &interfaces, &addresses)
            .map_err(|error| FirewallError::HostDrops(error.to_string()))?;
        let is_drivers =
            |table: &Table| ["iptables", "ip6tables"].contains(&table.program.as_str());
        changes.retain(|change| self.marks || !is_drivers(&change.table));
        Ok(changes)
    }

    fn carry_out(&mut self, changes: &[Change]) -> Result<(), FirewallError> {
        let (nft, iptables): (Vec<_>, Vec<_>) =
            changes.iter().partition(|change| change.table.is_nft());
        if !nft.is_empty() {
            nftables::change_host_rules(&nft)?;
        }
        iptables::change(&iptables, &mut *self.run, self.find)
    }

    pub(super) fn remove(&mut self) -> Result<(), FirewallError> {
        let ruleset = self.read()?;
        self.carry_out(&removal(&ruleset))
    }
}
