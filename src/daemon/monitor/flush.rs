//! `posternd flush`: removes everything of Postern from the firewall.

use std::path::Path;

use super::control_path::control_path;
use super::driver::{self, Choice};
use super::{boot_protection, config_programs, directories, rights};
use crate::adapters::config::disk;
use crate::adapters::firewall::FirewallError;
use crate::model::exit::{ExitError, FAILED};
use crate::model::settings::DriverKind;

/// What `posternd flush` did.
#[derive(Debug, Default)]
pub(crate) struct Flushed {
    /// Whether a daemon runs, which restores its rules; `None` if the config does not name its control socket.
    pub running: Option<bool>,
    pub closed: usize,
    /// The other drivers that work here. They hold nothing of Postern now.
    pub backends: Vec<&'static str>,
    pub undone: Option<ExitError>,
}

/// Removes everything of Postern from the firewall, with every driver that works here, even if the config is wrong: a typing error
/// must not keep ports closed.
pub(crate) fn flush(config: &Path) -> Result<Flushed, ExitError> {
    rights::check()?;
    let mut flushed = Flushed::default();
    let loaded = disk::load(config).map(|(_, settings)| settings);
    let socket = control_path(config);
    // The lock keeps a daemon from starting meanwhile.
    let lock = socket.as_ref().ok();
    let lock = lock.map(|socket| directories::lock(&socket.path));
    let is_running = lock.as_ref().is_some_and(Result::is_err);
    let is_missing = matches!(config.try_exists(), Ok(false));
    let is_known = is_running || is_missing || socket.is_ok_and(|socket| socket.doubt.is_none());
    flushed.running = is_known.then_some(is_running);
    match &loaded {
        Ok(settings) if !is_running => match config_programs::close_leftovers(settings) {
            Ok(closed) => flushed.closed = closed,
            Err(stop) => flushed.undone = Some(stop),
        },
        Err(wrong) if !is_missing => flushed.undone = Some(undone(wrong, is_known)),
        Ok(_) | Err(_) => {}
    }
    boot_protection::forget();
    let choice = loaded.as_ref().map(Choice::of).unwrap_or_default();
    let removed = driver::remove_all(&choice);
    if let Some(error) = removed.errors.into_iter().reduce(FirewallError::and) {
        return Err(ExitError::new(FAILED, error));
    }
    flushed.backends = removed.backends;
    if flushed.backends.is_empty() {
        driver::native(DriverKind::Auto).map(|_| flushed)
    } else {
        Ok(flushed)
    }
}

fn undone(wrong: &ExitError, is_known: bool) -> ExitError {
    let first = wrong.message.lines().next().unwrap_or_default();
    let more = match wrong.message.lines().count().saturating_sub(1) {
        0 => String::new(),
        more => format!(" (and {more} more: posternd check)"),
    };
    let daemon = if is_known {
        ""
    } else {
        ", and whether a daemon runs is not known"
    };
    let what = "so what [firewall.command] opened, if it is there, was not closed";
    ExitError::new(wrong.code, format!("{first}{more}; {what}{daemon}"))
}
