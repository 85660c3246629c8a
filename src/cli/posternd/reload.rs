//! `posternd reload`: has the running daemon read its config, and reports whether the config is in force.

use std::process::ExitCode;

use serde_json::json;

use super::ask::note_doubt;
use super::output::answer;
use super::shared_arguments::Report;
use crate::admin::reload::{ReloadResult, reload};
use crate::daemon::monitor;
use crate::model::exit::{ExitError, FAILED};

pub(super) fn carry_out(report: &Report) -> Result<ExitCode, ExitError> {
    let config = &report.config.config;
    let socket = monitor::control_path(config)?;
    let outcome = reload(&socket.path);
    if outcome != ReloadResult::NotRunning {
        note_doubt(&socket);
    }
    match outcome {
        ReloadResult::Done => {
            let text = "the config is in force; check it with: posternd status\n";
            answer(report, json!({ "reload": "done" }), text)
        }
        ReloadResult::NotRunning => {
            let path = socket.path.display();
            let what = format!("no posternd answers on {path}; start it, and it reads the config");
            Err(monitor::unanswered(config, &what))
        }
        ReloadResult::Refused(why) => {
            let what = "the new config is not used, the old one stays in force";
            let lines = why.lines().map(|why| format!("{what}: {why}"));
            Err(ExitError::new(FAILED, lines.collect::<Vec<_>>().join("\n")))
        }
        ReloadResult::Failed(why) => Err(ExitError::new(FAILED, why)),
    }
}
