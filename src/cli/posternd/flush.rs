//! `posternd flush`: removes all of Postern's rules from the firewall.

use std::process::ExitCode;

use serde_json::json;

use super::output::answer;
use super::shared_arguments::Report;
use crate::daemon::monitor;
use crate::model::exit::ExitError;
use crate::model::time;

pub(super) fn carry_out(report: &Report) -> Result<ExitCode, ExitError> {
    let flushed = monitor::flush(&report.config.config)?;
    let (running, closed, backends) = (flushed.running, flushed.closed, &flushed.backends);
    let mut text = String::new();
    if running == Some(true) {
        text.push_str("a posternd is running and will install its rules again; stop it first\n");
    }
    if closed > 0 {
        text += &format!("command: closed {}\n", time::count(closed, "grant"));
    }
    for name in backends {
        text += &format!("{name}: nothing of Postern's is left\n");
    }
    let json = json!({ "running": running, "closed": closed, "backends": backends });
    let done = answer(report, json, &text)?;
    flushed.undone.map_or(Ok(done), Err)
}
