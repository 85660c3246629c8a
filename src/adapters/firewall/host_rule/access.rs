//! Reads the host's rules, and changes those of Postern in them.

use std::path::{Path, PathBuf};

use super::iptables;
use super::plan::{Plan, describe, plan};
use crate::adapters::firewall::host::{self, Tools};
use crate::adapters::firewall::{FirewallError, nftables};
use crate::core::host_rules::accept_rules::{Action, Change, PortOf, removal};
use crate::core::host_rules::{Ruleset, Table};
use crate::model::packet_mark::PacketMark;
use crate::model::run::Run;
use crate::model::settings::{HostRules, Interfaces, Protection};

/// How to read and change the host's rules.
pub(crate) struct HostAccess {
    pub(crate) run: Box<dyn Run + Send>,
    pub(crate) find: fn(&str) -> Option<PathBuf>,
    pub(crate) interfaces: Interfaces,
    pub(crate) keeper: HostRules,
    pub(crate) mark: PacketMark,
    pub(crate) driver: DriverAccess,
}

/// Where the driver marks granted packets. The rules in the host's own chains accept the mark.
pub(crate) enum DriverAccess {
    /// It marks them before all chains of the host.
    Nftables,
    /// It marks them in table filter of this variant of iptables, and can open nothing that another table drops.
    Iptables(PathBuf),
}

impl HostAccess {
    pub(super) fn read(&mut self) -> Result<Ruleset, FirewallError> {
        let mut tools = Tools {
            run: &mut *self.run,
            find: self.find,
        };
        host::read_rules(&mut tools)
    }

    /// What the rules need so that grants open.
    pub(super) fn plan(
        &self,
        ruleset: &Ruleset,
        protection: &Protection,
    ) -> Result<Plan, FirewallError> {
        let network = host::network(&self.interfaces);
        let mut plan = plan(ruleset, protection, &network)
            .map_err(|error| FirewallError::HostDrops(error.to_string()))?;
        // The iptables driver does not mark them.
        let is_published = |change: &Change| change.rule.port == PortOf::Sender;
        if matches!(self.driver, DriverAccess::Iptables(_)) {
            plan.changes.retain(|change| !is_published(change));
        }
        Ok(plan)
    }

    /// Inserts what is missing and deletes what is misplaced. The next check sees whether others changed
    /// the rules meanwhile.
    pub(super) fn open(&mut self, changes: &[Change]) -> Result<(), FirewallError> {
        if let Some(change) = changes.iter().find(|change| !self.reaches(&change.table)) {
            return Err(FirewallError::HostDrops(format!(
                "{}, chain {} drops what iptables accepts; write backend = \"auto\" in [firewall]",
                change.table, change.chain
            )));
        }
        if self.keeper == HostRules::Mine && !changes.is_empty() {
            return Err(FirewallError::HostDrops(format!(
                "the host's own rules drop granted packets: {}; add the rules that posternd check --plan prints",
                describe(changes)
            )));
        }
        self.carry_out(changes)
    }

    /// Whether rules of this table see the mark. That of the iptables driver is set in table filter of its own variant.
    fn reaches(&self, table: &Table) -> bool {
        let DriverAccess::Iptables(save) = &self.driver else {
            return true;
        };
        let program = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let own = program(save);
        if table.is_nft() {
            // iptables shows nothing of it, because of a rule that only nft can show
            let is_nft_variant = own.to_string_lossy().contains("nft");
            return is_nft_variant && table.family != "inet" && table.name == "filter";
        }
        if table.name != "filter" {
            return false;
        }
        (self.find)(&format!("{}-save", table.program)).is_some_and(|save| program(&save) == own)
    }

    fn carry_out(&mut self, changes: &[Change]) -> Result<(), FirewallError> {
        // nft deletes rules of iptables too, even if iptables can no longer show them
        let by_nft = |change: &&Change| {
            let is_deletion = matches!(change.action, Action::Delete { handle } if handle != 0);
            change.table.is_nft() || is_deletion
        };
        let (nft, iptables): (Vec<_>, Vec<_>) = changes.iter().partition(by_nft);
        if !nft.is_empty() {
            nftables::change_host_rules(&nft)?;
        }
        let done = iptables::change(&iptables, &mut *self.run, self.find);
        let is_in_nf_tables = |change: &&Change| self.is_of_nft_variant(&change.table);
        match done {
            // The kernel needs none of the modules that the program lacks.
            Err(error) if iptables.iter().all(is_in_nf_tables) => {
                nftables::change_host_rules(&iptables).map_err(|also| error.and(also))
            }
            done => done,
        }
    }

    fn is_of_nft_variant(&self, table: &Table) -> bool {
        let save = (self.find)(&format!("{}-save", table.program));
        let file = save.and_then(|path| path.canonicalize().ok());
        file.is_some_and(|path| path.to_string_lossy().contains("nft"))
    }

    /// The administrator's own rules stay.
    pub(super) fn remove(&mut self) -> Result<(), FirewallError> {
        self.remove_where(|_, _| true)
    }

    /// Removes the rules that another driver left in tables that do not see this driver's mark.
    pub(crate) fn remove_out_of_reach(&mut self) -> Result<(), FirewallError> {
        self.remove_where(|access, table| !access.reaches(table))
    }

    fn remove_where(&mut self, is_chosen: fn(&Self, &Table) -> bool) -> Result<(), FirewallError> {
        if self.keeper == HostRules::Mine {
            return Ok(());
        }
        let ruleset = self.read()?;
        let mut changes = removal(&ruleset, self.mark);
        changes.retain(|change| is_chosen(self, &change.table));
        self.carry_out(&changes)
    }
}
