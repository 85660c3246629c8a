//! Opens the firewall driver that a config selects, and removes what other drivers left.

use std::path::Path;

use tracing::warn;

use super::config_programs;
use crate::adapters::files;
use crate::adapters::firewall::host_rule::{HostAccess, WithHostRules};
use crate::adapters::firewall::host_set::{self, WithHostSets};
use crate::adapters::firewall::iptables::{Iptables, Paths};
use crate::adapters::firewall::nftables::{self, Nftables};
use crate::adapters::firewall::{FirewallDriver, FirewallError};
use crate::adapters::process::{self, Programs};
use crate::model::catalog;
use crate::model::exit::{CONFIG, ExitError, UNAVAILABLE};
use crate::model::settings::{DriverKind, HostRules, Interfaces, Settings};

pub(crate) fn backend(settings: &Settings) -> Result<Box<dyn FirewallDriver>, ExitError> {
    match settings.firewall.backend {
        DriverKind::Command => config_programs::command_driver(settings),
        kind => open(
            kind,
            settings.firewall.host_rules,
            &settings.gate.interfaces,
        ),
    }
}

/// Opens a driver without a config, to remove what it put into the firewall.
pub fn native(kind: DriverKind) -> Result<Box<dyn FirewallDriver>, ExitError> {
    open(kind, HostRules::Postern, &Interfaces::Any)
}

fn open(
    kind: DriverKind,
    keeper: HostRules,
    interfaces: &Interfaces,
) -> Result<Box<dyn FirewallDriver>, ExitError> {
    let opened = match kind {
        DriverKind::Iptables => iptables(interfaces),
        DriverKind::Nftables => nftables(keeper, interfaces),
        DriverKind::Auto => nftables(keeper, interfaces)
            .or_else(|error| iptables(interfaces).map_err(|also| error.and(also))),
        DriverKind::Command => Err(FirewallError::Unsupported(
            "the command driver needs a config".to_owned(),
        )),
    };
    opened.map_err(|error| ExitError::new(UNAVAILABLE, error))
}

/// What it drops, no rule of others accepts. The rules in the host's own chains accept what it marks.
fn nftables(
    keeper: HostRules,
    interfaces: &Interfaces,
) -> Result<Box<dyn FirewallDriver>, FirewallError> {
    let access = access(keeper, interfaces, true);
    let driver = WithHostRules::new(WithHostSets::new(Nftables::open()?), access);
    let earlier = iptables_variants().into_iter().map(iptables_at).map(boxed);
    Ok(Box::new(driver.taking_over(earlier.collect())))
}

fn iptables(interfaces: &Interfaces) -> Result<Box<dyn FirewallDriver>, FirewallError> {
    let paths = Paths::locate(process::find)?;
    if let Some(warning) = paths.warning() {
        warn!("{warning}");
    }
    let access = access(HostRules::Mine, interfaces, false);
    let driver = WithHostSets::new(iptables_at(paths));
    Ok(Box::new(WithHostRules::new(driver, access)))
}

fn access(keeper: HostRules, interfaces: &Interfaces, marks: bool) -> HostAccess {
    HostAccess {
        run: Box::new(Programs::default()),
        find: process::find,
        interfaces: interfaces.clone(),
        keeper,
        marks,
    }
}

fn iptables_at(paths: Paths) -> Iptables {
    let driver = Iptables::new(Box::new(Programs::default()), paths)
        .with_delete_table(Box::new(nftables::delete_table_of_iptables));
    // A kernel without nf_tables has the legacy variant of the programs.
    match nftables::number_of_ruleset() {
        Ok(number) => driver.with_generation_id(number),
        Err(_) => driver,
    }
}

fn boxed(driver: Iptables) -> Box<dyn FirewallDriver> {
    Box::new(driver)
}

/// The programs of each variant of iptables that may hold rules.
fn iptables_variants() -> Vec<Paths> {
    let has_legacy_tables = ["/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"]
        .iter()
        .any(|names| {
            files::read_system(Path::new(names)).is_ok_and(|text| !text.trim().is_empty())
        });
    Paths::variants(process::find, has_legacy_tables)
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

/// Every driver that may hold rules of Postern, whatever the config says.
pub(super) fn all_native() -> Vec<Box<dyn FirewallDriver>> {
    let nftables = native(DriverKind::Nftables).ok();
    let iptables = iptables_variants().into_iter().map(iptables_at).map(boxed);
    iptables.chain(nftables).collect()
}

/// Removes what another driver left in an earlier run, because it would close what `chosen` opens.
pub(super) fn remove_leftovers(settings: &Settings, chosen: &str) {
    if chosen != "command"
        && let Err(stop) = config_programs::close_leftovers(settings)
    {
        warn!("{stop}");
    }
    let own = Paths::locate(process::find)
        .ok()
        .filter(|_| chosen == "iptables");
    let is_other = |paths: &Paths| own.as_ref().is_none_or(|own| !own.is_same(paths));
    let iptables = iptables_variants().into_iter().filter(is_other);
    let nftables = native(DriverKind::Nftables)
        .ok()
        .filter(|_| chosen != "nftables");
    for mut other in iptables.map(iptables_at).map(boxed).chain(nftables) {
        if let Err(error) = other.remove() {
            warn!(
                "what {} left from an earlier run could not be removed: {error}",
                other.name()
            );
        }
    }
}

/// Removes everything from the firewall after a trial that did not start.
pub(super) fn remove_all() {
    for mut driver in all_native() {
        if let Err(error) = driver.remove() {
            warn!("{error}; run posternd flush");
        }
    }
}
