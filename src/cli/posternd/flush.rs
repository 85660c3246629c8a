//! `posternd flush`: what was taken out of the firewall, and what would put it back.

use std::process::ExitCode;

use super::arguments::Report;
use super::say::{say, say_json};
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
        say_json(
            &serde_json::json!({ "version": control::VERSION, "running": running, "closed": closed, "backends": backends }),
        )?;
    } else {
        say(&text(&flushed))?;
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
        text.push_str(
            "a posternd is running and will put its rules back; stop it first to be rid of them\n",
        );
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
