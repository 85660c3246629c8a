//! `posternd flush`: removes all of Postern's rules from the firewall.

use std::process::ExitCode;

use super::output::{print, print_json};
use super::shared_arguments::Report;
use crate::adapters::control;
use crate::daemon::monitor::{self, Flushed};
use crate::model::exit::ExitError;
use crate::model::time;

pub(super) fn carry_out(report: &Report) -> Result<ExitCode, ExitError> {
    let flushed = monitor::flush(&report.config.config)?;
    if report.json {
        let Flushed {
            running,
            closed,
            backends,
            undone: _,
        } = &flushed;
        print_json(
            &serde_json::json!({ "version": control::VERSION, "running": running, "closed": closed, "backends": backends }),
        )?;
    } else {
        print(&text(&flushed))?;
    }
    flushed.undone.map_or(Ok(ExitCode::SUCCESS), Err)
}

fn text(
    Flushed {
        running,
        closed,
        backends,
        undone: _,
    }: &Flushed,
) -> String {
    let mut text = String::new();
    if *running == Some(true) {
        text.push_str("a posternd is running and will install its rules again; stop it first\n");
    }
    if *closed > 0 {
        text.push_str(&format!(
            "command: closed {}\n",
            time::count(*closed, "grant")
        ));
    }
    backends
        .iter()
        .for_each(|name| text.push_str(&format!("{name}: nothing of Postern's is left\n")));
    text
}
