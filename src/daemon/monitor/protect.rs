//! `posternd protect`: installs the last protection again, before the network starts and after a start that failed.

use tracing::info;

use super::boot_protection::{is_service, path, read};
use super::{driver, rights};
use crate::adapters::clock;
use crate::adapters::firewall::FirewallError;
use crate::model::exit::{ExitError, FAILED, UNAVAILABLE};
use crate::model::settings::{DriverKind, Protection};

/// Installs what was kept, without a grant and without a config. Returns what is closed now; `None` if nothing
/// is kept.
pub(crate) fn protect() -> Result<Option<String>, ExitError> {
    rights::check()?;
    let Some(kept) = read(&path())? else {
        return Ok(None);
    };
    let (first, second) = match kept.driver() {
        DriverKind::Iptables => (DriverKind::Iptables, DriverKind::Nftables),
        _ => (DriverKind::Nftables, DriverKind::Iptables),
    };
    let unfit = |why| ExitError::new(FAILED, format!("{}: {why}", path().display()));
    let protection = kept.protection().map_err(unfit)?;
    install(first, &protection)
        .or_else(|error| install(second, &protection).map_err(|also| error.and(also)))
        .map_err(|error| ExitError::new(UNAVAILABLE, error))?;
    Ok(Some(protection.closed()))
}

/// After a failed start the last protection is in force, even if the host's own firewall service has just removed it.
pub(super) fn after_failed_start(stop: ExitError) -> ExitError {
    if !is_service() {
        return stop;
    }
    let note = match protect() {
        Ok(None) => return stop,
        Ok(Some(closed)) => {
            format!("the last protection stays in force; closed for everyone: {closed}")
        }
        Err(error) => format!("the last protection is not in force: {}", error.message),
    };
    ExitError::new(stop.code, format!("{}\n{note}", stop.message))
}

/// A driver that finds grants has its protection in force. Installing it without them would end them.
fn install(kind: DriverKind, protection: &Protection) -> Result<(), FirewallError> {
    let mut driver = driver::bare(kind)?;
    driver.tick(clock::wall());
    if driver.list()?.is_empty() {
        driver.install(protection, &[])?;
        info!("the last protection is in force: {}", protection.closed());
    }
    Ok(())
}
