//! `posternd reset-clock`: sets clock floor and horizon of the store to now.

use std::process::ExitCode;

use serde_json::json;

use super::output::answer;
use super::shared_arguments::Report;
use crate::daemon::monitor;
use crate::model::exit::ExitError;

pub(super) fn carry_out(report: &Report) -> Result<ExitCode, ExitError> {
    let reset = monitor::reset_clock(&report.config.config)?;
    let (before, now) = (reset.before, reset.now);
    let text = format!(
        "the gate's clock is set to {now}; it was at {}\nno knock made before that is admitted\n\
         if clients' clocks were ahead too, rotate their keys: their recorded knocks work when that time comes\n",
        before.floor
    );
    let json = json!({ "before": before.floor.as_millis(), "now": now.as_millis() });
    answer(report, json, &text)
}
