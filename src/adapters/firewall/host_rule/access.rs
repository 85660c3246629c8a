//! Reads the host's rules, and changes those of Postern in them.

use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::iptables;
use super::plan::{Plan, describe, plan};
use crate::adapters::firewall::host::{self, KeptRules, Network, Tools};
use crate::adapters::firewall::{FirewallError, nftables};
use crate::core::host_rules::accept_rules::{Action, Change, removal};
use crate::core::host_rules::{PortOf, Ruleset, Sought, Table};
use crate::model::packet_mark::PacketMark;
use crate::model::run::Run;
use crate::model::settings::{HostRules, Interfaces, Protection};

/// How to read and change the host's rules.
pub(crate) struct HostAccess {
    run: Box<dyn Run + Send>,
    find: fn(&str) -> Option<PathBuf>,
    interfaces: Interfaces,
    keeper: HostRules,
    mark: PacketMark,
    driver: DriverAccess,
    kept: KeptRules,
}

/// Where the driver marks granted packets. The rules in the host's own chains accept the mark.
pub(crate) enum DriverAccess {
    /// It marks them before all chains of the host.
    Nftables,
    /// It marks them in table filter of this variant of iptables, and can open nothing that another table drops.
    Iptables(PathBuf),
}

impl HostAccess {
    pub(crate) fn new(
        run: Box<dyn Run + Send>,
        find: fn(&str) -> Option<PathBuf>,
        interfaces: Interfaces,
        keeper: HostRules,
        mark: PacketMark,
        driver: DriverAccess,
    ) -> Self {
        Self {
            run,
            find,
            interfaces,
            keeper,
            mark,
            driver,
            kept: KeptRules::new(None),
        }
    }

    pub(super) fn network(&self) -> Network {
        host::network(&self.interfaces)
    }

    /// Reads what others changed. Returns whether the rules or the network may differ now.
    pub(super) fn refresh(
        &mut self,
        protection: &Protection,
        network: &Network,
    ) -> Result<bool, FirewallError> {
        let behind = protection.behind.iter();
        let behind: Vec<IpNet> = behind.map(|(network, _)| *network).collect();
        let sought = Sought::by(&network.interfaces).to(&network.addresses, &behind);
        self.kept.seek(sought);
        self.read()
    }

    fn read(&mut self) -> Result<bool, FirewallError> {
        let mut tools = Tools {
            run: &mut *self.run,
            find: self.find,
        };
        self.kept.refresh(&mut tools)
    }

    pub(super) fn rules(&self) -> &Ruleset {
        self.kept.rules()
    }

    /// What the rules need so that grants open.
    pub(super) fn plan(
        &self,
        protection: &Protection,
        network: &Network,
    ) -> Result<Plan, FirewallError> {
        let mut plan = plan(self.rules(), protection, network)
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
        let by_program = |change: &&Change| {
            // iptables has no native expression for the translated port
            let is_published = change.rule.port == PortOf::Sender && !change.table.is_nft();
            let is_insertion = matches!(change.action, Action::Insert { .. });
            self.kept.is_legacy(&change.table) || is_published && is_insertion
        };
        let (by_program, nf_tables): (Vec<_>, Vec<_>) = changes.iter().partition(by_program);
        if !nf_tables.is_empty() {
            nftables::change_host_rules(&nf_tables)?;
        }
        let done = iptables::change(&by_program, &mut *self.run, self.find);
        // no event tells of it
        self.kept.distrust_legacy();
        done
    }

    /// Removes the rules of Postern from all chains, also from those that no granted packet enters. The administrator's
    /// own rules stay.
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
        self.kept = KeptRules::new(None);
        self.read()?;
        let mut changes = removal(self.kept.rules(), self.mark);
        changes.retain(|change| is_chosen(self, &change.table));
        self.carry_out(&changes)
    }
}
