//! `posternd reload`: has the running daemon read its config, and reports whether the config is in force.

use std::process::ExitCode;

use super::ask::note_doubt;
use super::output::{print, print_json};
use super::shared_arguments::Report;
use crate::adapters::control;
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
        ReloadResult::Done if report.json => {
            print_json(&serde_json::json!({ "version": control::VERSION, "reload": "done" }))
        }
        ReloadResult::Done => print("the config is in force; see it work with: posternd status\n")
            .map(|()| ExitCode::SUCCESS),
        ReloadResult::NotRunning => {
            let what = format!(
                "no posternd answers on {}; start it, and it reads the config",
                socket.path.display()
            );
            Err(monitor::unanswered(config, &what))
        }
        ReloadResult::Refused(why) => Err(ExitError::new(
            FAILED,
            why.lines().map(not_used).collect::<Vec<_>>().join("\n"),
        )),
        ReloadResult::Failed(why) => Err(ExitError::new(FAILED, why)),
    }
}

fn not_used(why: &str) -> String {
    format!("the new config is not used, the old one stays in force: {why}")
}
