//! `posternd reload`: the running daemon reads its config anew, and the exit code says whether it is in force.

use std::process::ExitCode;

use super::arguments::Report;
use super::asking::tell_doubt;
use super::say::{say, say_json};
use crate::adapters::control;
use crate::admin::reload::{Outcome, reload};
use crate::daemon::monitor;
use crate::model::exit::{ExitError, FAILED};

pub(super) fn carry_out(report: &Report) -> Result<ExitCode, ExitError> {
    let config = &report.config.config;
    let socket = monitor::control_socket(config)?;
    let outcome = reload(&socket.path);
    if outcome != Outcome::NotRunning {
        tell_doubt(&socket);
    }
    match outcome {
        Outcome::Done if report.json => {
            say_json(&serde_json::json!({ "version": control::VERSION, "reload": "done" }))
        }
        Outcome::Done => say("the config is in force; see it work with: posternd status\n")
            .map(|()| ExitCode::SUCCESS),
        Outcome::NotRunning => {
            let what = format!(
                "no posternd answers on {}; start it, and it reads the config as it is",
                socket.path.display()
            );
            Err(monitor::unanswered(config, &what))
        }
        Outcome::Refused(why) => Err(ExitError::new(
            FAILED,
            why.lines().map(not_used).collect::<Vec<_>>().join("\n"),
        )),
        Outcome::Failed(why) => Err(ExitError::new(FAILED, why)),
    }
}

/// As the log says it.
fn not_used(why: &str) -> String {
    format!("the new config is not used, the old one stays in force: {why}")
}
