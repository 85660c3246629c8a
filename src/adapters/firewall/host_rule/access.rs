//! Reads the host's rules, and changes those of Postern in them.

use std::path::{Path, PathBuf};

use super::iptables;
use super::plan::{describe, plan};
use crate::adapters::firewall::host::{self, Tools};
use crate::adapters::firewall::{FirewallError, nftables};
use crate::core::host_rules::accept_rules::{Action, Change, removal};
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

/// How the driver lets granted packets pass.
pub(crate) enum DriverAccess {
    /// It marks them. The rules in the host's own chains accept the mark.
    Marks,
    /// It accepts them in the tables of this variant of iptables, and can open nothing that another table drops.
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
        if !self.marks() {
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
        changes.retain(|change| !self.is_drivers(&change.table));
        Ok(changes)
    }

    pub(super) fn marks(&self) -> bool {
        matches!(self.driver, DriverAccess::Marks)
    }

    /// Whether the iptables driver accepts granted packets in this table, before its own rules.
    fn is_drivers(&self, table: &Table) -> bool {
        let DriverAccess::Iptables(save) = &self.driver else {
            return false;
        };
        let program = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let own = program(save);
        if table.is_nft() {
            // iptables shows nothing of it, because of a rule that only nft can show
            let is_nft_variant = own.to_string_lossy().contains("nft");
            return is_nft_variant && table.family != "inet" && table.name == "filter";
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
        iptables::change(&iptables, &mut *self.run, self.find)
    }

    /// The administrator's own rules stay.
    pub(super) fn remove(&mut self) -> Result<(), FirewallError> {
        if self.keeper == HostRules::Mine || !self.marks() {
            return Ok(());
        }
        let ruleset = self.read()?;
        self.carry_out(&removal(&ruleset, self.mark))
    }
}
