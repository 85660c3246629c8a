//! Opens the firewall driver that a config selects, and removes what other drivers left.

use std::path::Path;

use tracing::warn;

use super::config_programs;
use crate::adapters::firewall::host;
use crate::adapters::firewall::host_rule::{DriverAccess, HostAccess, WithHostRules};
use crate::adapters::firewall::host_set::{self, WithHostSets};
use crate::adapters::firewall::iptables::{Iptables, NftTables, Paths};
use crate::adapters::firewall::nftables::{self, LiveTable, Nftables, iptables_tables};
use crate::adapters::firewall::{FirewallDriver, FirewallError};
use crate::adapters::process::{self, Programs};
use crate::model::address::Family;
use crate::model::catalog;
use crate::model::exit::{CONFIG, ExitError, UNAVAILABLE};
use crate::model::packet_mark::PacketMark;
use crate::model::run::{Call, Run};
use crate::model::settings::{DriverKind, HostRules, Interfaces, Settings};

/// With the tables of iptables in nf_tables, its own programs are not enough.
const NFT_TABLES: NftTables = NftTables {
    note_missing: iptables_tables::note_missing,
    delete_created: iptables_tables::delete_created_tables,
    remove: iptables_tables::remove,
    list: iptables_tables::list,
};

/// What the drivers must know of a config.
pub(super) struct Choice {
    keeper: HostRules,
    mark: PacketMark,
    interfaces: Interfaces,
}

impl Default for Choice {
    fn default() -> Self {
        Self {
            keeper: HostRules::Postern,
            mark: PacketMark::default(),
            interfaces: Interfaces::Any,
        }
    }
}

impl Choice {
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            keeper: settings.firewall.host_rules,
            mark: settings.firewall.packet_mark,
            interfaces: settings.gate.interfaces.clone(),
        }
    }

    fn access(&self, driver: DriverAccess) -> HostAccess {
        let run = Box::new(Programs::default());
        let interfaces = self.interfaces.clone();
        HostAccess::new(
            run,
            process::find,
            interfaces,
            self.keeper,
            self.mark,
            driver,
        )
    }
}

pub(crate) fn backend(settings: &Settings) -> Result<Box<dyn FirewallDriver>, ExitError> {
    match settings.firewall.backend {
        DriverKind::Command => config_programs::command_driver(settings),
        kind => open(kind, &Choice::of(settings)),
    }
}

/// Opens a driver without a config, to remove what it put into the firewall.
pub fn native(kind: DriverKind) -> Result<Box<dyn FirewallDriver>, ExitError> {
    open(kind, &Choice::default())
}

/// Opens a driver that leaves the host's own rules alone: before the network starts there is no grant for them.
pub(super) fn bare(kind: DriverKind) -> Result<Box<dyn FirewallDriver>, FirewallError> {
    match kind {
        DriverKind::Iptables => Ok(Box::new(iptables_at(own_iptables()?).without_grants())),
        _ => Ok(Box::new(Nftables::open()?)),
    }
}

fn open(kind: DriverKind, choice: &Choice) -> Result<Box<dyn FirewallDriver>, ExitError> {
    let opened = match kind {
        DriverKind::Iptables => iptables(choice),
        DriverKind::Nftables => nftables(choice),
        DriverKind::Auto => {
            nftables(choice).or_else(|error| iptables(choice).map_err(|also| error.and(also)))
        }
        DriverKind::Command => Err(FirewallError::Unsupported(
            "the command driver needs a config".to_owned(),
        )),
    };
    opened.map_err(|error| ExitError::new(UNAVAILABLE, error))
}

/// What it drops, no rule of others accepts. The rules in the host's own chains accept what it marks.
fn nftables(choice: &Choice) -> Result<Box<dyn FirewallDriver>, FirewallError> {
    let access = choice.access(DriverAccess::Nftables);
    let driver = WithHostRules::new(WithHostSets::new(Nftables::open()?), access);
    Ok(Box::new(driver.taking_over(other_iptables(None))))
}

fn iptables(choice: &Choice) -> Result<Box<dyn FirewallDriver>, FirewallError> {
    let paths = own_iptables()?;
    if let Some(warning) = paths.warning() {
        warn!("{warning}");
    }
    let access = choice.access(DriverAccess::Iptables(paths.v4.save.clone()));
    let mut earlier = other_iptables(Some(&paths));
    if let Ok(nftables) = Nftables::open() {
        earlier.push(Box::new(nftables));
    }
    let driver = WithHostRules::new(WithHostSets::new(iptables_at(paths)), access);
    Ok(Box::new(driver.taking_over(earlier)))
}

/// The driver for a host on which the chosen iptables opens nothing, for example because its rules are still those of the
/// other variant. It takes over the grants.
pub(super) fn instead_of_iptables(settings: &Settings) -> Option<Box<dyn FirewallDriver>> {
    nftables(&Choice::of(settings)).ok()
}

/// The variant that the plain names stand for now.
fn own_iptables() -> Result<Paths, FirewallError> {
    Ok(Paths::locate(process::find)?.of_fixed_variant(process::find))
}

fn iptables_at(paths: Paths) -> Iptables {
    let driver = Iptables::new(Box::new(Programs::default()), paths);
    driver.with_nft_tables(NFT_TABLES).with_live_table()
}

/// Refuses sets of the host that cannot hold grants. A missing one may come later in the boot.
pub(crate) fn check_sets(config: &Path, settings: &Settings) -> Result<(), ExitError> {
    let unfit = host_set::unfit(&catalog::sets(&settings.catalog))
        .map_err(|error| ExitError::new(UNAVAILABLE, error))?;
    let lines: Vec<String> = unfit
        .iter()
        .filter(|(_, fault)| !fault.is_absent())
        .map(|(service, fault)| {
            format!(
                "{}: nft_set of [service.{service}]: {fault}",
                config.display()
            )
        })
        .collect();
    if lines.is_empty() {
        Ok(())
    } else {
        Err(ExitError::new(CONFIG, lines.join("\n")))
    }
}

/// The drivers of the other variants of iptables that may hold rules of Postern.
fn other_iptables(own: Option<&Paths>) -> Vec<Box<dyn FirewallDriver>> {
    let mut variants = Paths::variants(process::find, has_legacy_tables());
    variants.retain(|paths| own.is_none_or(|own| !own.is_same(paths)));
    variants.retain(|paths| {
        if paths.is_nft() {
            iptables_tables::has_own_chains().unwrap_or(true)
        } else {
            may_have_legacy_chains(paths)
        }
    });
    let drivers = variants.into_iter().map(iptables_at);
    drivers
        .map(|driver| Box::new(driver) as Box<dyn FirewallDriver>)
        .collect()
}

/// Removes what another driver left in an earlier run, because it would close what `chosen` opens.
pub(super) fn remove_leftovers(settings: &Settings, chosen: &str) {
    if chosen != "command"
        && let Err(stop) = config_programs::close_leftovers(settings)
    {
        warn!("{stop}");
    }
    let own = own_iptables().ok().filter(|_| chosen == "iptables");
    let is_own_nft = own.as_ref().is_some_and(Paths::is_nft);
    let mut removed = Vec::new();
    if !is_own_nft {
        removed.push(remove_from_nf_tables());
    }
    if own.is_none() || is_own_nft {
        removed.extend(remove_legacy());
    }
    let choice = Choice::of(settings);
    if chosen != "iptables" {
        removed.push(remove_live_table());
    }
    match chosen {
        "nftables" => {}
        // its grants may be in sets of the host
        "iptables" => removed.extend(remove_own_table(own.as_ref(), &choice)),
        _ => removed.extend(remove_table(&choice)),
    }
    for error in removed.into_iter().filter_map(Result::err) {
        warn!("what an earlier run left in the firewall could not be removed: {error}");
    }
}

/// What was removed from the firewall.
#[derive(Debug, Default)]
pub(super) struct Removed {
    /// The drivers that work here.
    pub(super) backends: Vec<&'static str>,
    pub(super) errors: Vec<FirewallError>,
}

/// Removes everything of Postern, with every driver, whatever the config says. An error does not keep the rest in place.
pub(super) fn remove_all(choice: &Choice) -> Removed {
    let mut removed = Removed::default();
    let has_iptables = !Paths::variants(process::find, true).is_empty();
    removed.backends.extend(has_iptables.then_some("iptables"));
    let table = remove_table(choice);
    removed
        .backends
        .extend(table.is_some().then_some("nftables"));
    // Without nf_tables, the rules in the host's own chains are those of the legacy variant.
    let table = table.or_else(|| Some(iptables(choice).ok()?.remove()));
    let iptables = remove_from_nf_tables().and(remove_live_table());
    let results = [Some(iptables), table, remove_legacy()];
    let results = results.into_iter().flatten();
    removed.errors.extend(results.filter_map(Result::err));
    removed
}

/// Removes the rules of the iptables driver from nf_tables, even if iptables cannot read them or is not installed.
fn remove_from_nf_tables() -> Result<(), FirewallError> {
    match nftables::number_of_ruleset() {
        Ok(_) => iptables_tables::remove(),
        Err(_) => Ok(()),
    }
}

fn remove_live_table() -> Result<(), FirewallError> {
    LiveTable::open().map_or(Ok(()), |mut table| table.remove())
}

/// `None` if there is nothing of the legacy variant.
fn remove_legacy() -> Option<Result<(), FirewallError>> {
    if !has_legacy_tables() {
        return None;
    }
    let mut variants = Paths::variants(process::find, true).into_iter();
    let Some(paths) = variants.rfind(|paths| !paths.is_nft()) else {
        let what = "there are tables of legacy iptables, and iptables-legacy-restore is not installed to remove rules from them";
        return Some(Err(FirewallError::Unsupported(what.to_owned())));
    };
    may_have_legacy_chains(&paths).then(|| iptables_at(paths).without_grants().remove())
}

/// Removes the driver's own table, and what is in chains and sets of the host; `None` if the kernel has no nf_tables.
fn remove_table(choice: &Choice) -> Option<Result<(), FirewallError>> {
    let mut driver = nftables(choice).ok()?;
    Some(driver.remove())
}

/// The rules in the host's own chains stay where the iptables driver needs them.
fn remove_own_table(own: Option<&Paths>, choice: &Choice) -> Option<Result<(), FirewallError>> {
    let table = Nftables::open().ok()?.remove();
    let access = DriverAccess::Iptables(own?.v4.save.clone());
    Some(table.and(choice.access(access).remove_out_of_reach()))
}

fn has_legacy_tables() -> bool {
    host::legacy_tables().next().is_some()
}

/// Whether chains of Postern may be in the legacy tables; a large host has too many rules to list them all. Whatever
/// Postern puts there needs a chain in table filter.
fn may_have_legacy_chains(paths: &Paths) -> bool {
    let has_filter = |(_, names): &(Family, Vec<String>)| names.iter().any(|name| name == "filter");
    let mut families = host::legacy_tables().filter(has_filter);
    families.any(|(family, _)| {
        let v6 = paths.v6.as_ref().map(|pair| &pair.save);
        let Some(save) = family.pick(Some(&paths.v4.save), v6) else {
            return false;
        };
        let call = Call {
            program: save,
            args: &["-t", "filter"],
            stdin: b"",
            most: host::MAX_LISTING,
        };
        let listed = Programs::default().run(&call);
        listed.map_or(true, |ran| {
            ran.status != Some(0) || ran.stdout.contains("\n:POSTERN")
        })
    })
}
