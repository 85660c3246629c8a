//! Opens the firewall driver that a config selects, and removes what other drivers left.

use tracing::warn;

use super::config_programs;
use crate::adapters::firewall::iptables::{Iptables, Paths};
use crate::adapters::firewall::nftables::{self, Nftables};
use crate::adapters::firewall::{FirewallDriver, FirewallError};
use crate::adapters::process::{self, Programs};
use crate::model::exit::{ExitError, UNAVAILABLE};
use crate::model::settings::{DriverKind, Settings};

pub(super) const NATIVE: [DriverKind; 2] = [DriverKind::Iptables, DriverKind::Nftables];

pub(crate) fn backend(settings: &Settings) -> Result<Box<dyn FirewallDriver>, ExitError> {
    match settings.firewall.backend {
        DriverKind::Command => config_programs::command_driver(settings),
        kind => native(kind),
    }
}

/// Opens a driver that needs no config.
pub fn native(kind: DriverKind) -> Result<Box<dyn FirewallDriver>, ExitError> {
    let opened = match kind {
        DriverKind::Iptables => iptables(),
        DriverKind::Auto if Paths::locate(process::find).is_ok() => iptables(),
        DriverKind::Nftables | DriverKind::Auto => Nftables::open().map(boxed),
        DriverKind::Command => Err(FirewallError::Unsupported(
            "the command driver needs a config".to_owned(),
        )),
    };
    opened.map_err(|error| ExitError::new(UNAVAILABLE, error))
}

fn boxed(driver: impl FirewallDriver + 'static) -> Box<dyn FirewallDriver> {
    Box::new(driver)
}

fn iptables() -> Result<Box<dyn FirewallDriver>, FirewallError> {
    let paths = Paths::locate(process::find)?;
    if let Some(warning) = paths.warning() {
        warn!("{warning}");
    }
    let driver = Iptables::new(Box::new(Programs::default()), paths)
        .with_delete_table(Box::new(nftables::delete_table_of_iptables));
    // A kernel without nf_tables has the legacy variant of the programs.
    Ok(boxed(match nftables::number_of_ruleset() {
        Ok(number) => driver.with_generation_id(number),
        Err(_) => driver,
    }))
}

/// Removes what another driver left in an earlier run, because it would close what `chosen` opens.
pub(super) fn remove_leftovers(settings: &Settings, chosen: &str) {
    if chosen != "command"
        && let Err(stop) = config_programs::close_leftovers(settings)
    {
        warn!("{stop}");
    }
    for mut other in NATIVE.into_iter().filter_map(|kind| native(kind).ok()) {
        if other.name() != chosen
            && let Err(error) = other.remove()
        {
            let name = other.name();
            warn!("what {name} left from an earlier run could not be removed: {error}");
        }
    }
}

/// Removes everything from the firewall after a trial that did not start.
pub(super) fn remove_all() {
    for mut driver in NATIVE.into_iter().filter_map(|kind| native(kind).ok()) {
        if let Err(error) = driver.remove() {
            warn!("{error}; run posternd flush");
        }
    }
}
