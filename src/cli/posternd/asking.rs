//! What is asked of the running daemon over its control socket: `metrics`, `close`, `confirm`; and how any question is asked.
//!
//! Owns how answers are told; decides nothing.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Once;
use std::time::Duration;

use super::arguments::{Close, Config, Report, Which};
use super::say::{note, say, say_json};
use crate::adapters::clock;
use crate::adapters::control::{self, Answer, Question};
use crate::core::order::Selection;
use crate::daemon::monitor::{self, ControlSocket};
use crate::model::exit::{ExitError, FAILED, UNAVAILABLE};
use crate::model::grant::GrantId;
use crate::model::time;

pub(super) fn metrics(config: Config) -> Result<ExitCode, ExitError> {
    let Answer::Metrics(text) = ask(
        &Report {
            config,
            json: false,
        },
        &Question::Metrics,
    )?
    else {
        return Err(odd());
    };
    say(&text).map(|()| ExitCode::SUCCESS)
}

pub(super) fn end(close: &Close) -> Result<ExitCode, ExitError> {
    let which = match &close.which {
        Which {
            user: Some(user), ..
        } => Selection::User(user.clone()),
        Which {
            address: Some(address),
            ..
        } => Selection::Address(*address),
        Which { id: Some(id), .. } => Selection::Id(GrantId(*id)),
        Which { .. } => Selection::All,
    };
    let Answer::Closed(count) = ask(&close.report, &Question::Close(which))? else {
        return Err(odd());
    };
    if close.report.json {
        return say_json(&serde_json::json!({ "version": control::VERSION, "closed": count }));
    }
    say(&format!("closed {}\n", time::count(count, "grant"))).map(|()| ExitCode::SUCCESS)
}

pub(super) fn confirm(report: &Report) -> Result<ExitCode, ExitError> {
    let Answer::Confirmed(trial) = ask(report, &Question::Confirm)? else {
        return Err(odd());
    };
    if report.json {
        return say_json(&serde_json::json!({ "version": control::VERSION, "trial": trial }));
    }
    say(if trial {
        "the trial is over, Postern stays\n"
    } else {
        "there was no trial, Postern stays\n"
    })
    .map(|()| ExitCode::SUCCESS)
}

/// Asks the running daemon; where there is none, says so.
pub(super) fn ask(report: &Report, question: &Question) -> Result<Answer, ExitError> {
    let config = &report.config.config;
    let socket = monitor::control_socket(config)?;
    let path = &socket.path;
    let answer = control::ask(path, question).map_err(|error| {
        monitor::unanswered(
            config,
            &format!(
                "no posternd answers on {}: {}",
                path.display(),
                reason(&error)
            ),
        )
    })?;
    tell_doubt(&socket);
    match answer {
        Answer::Failed(why) => Err(ExitError::new(FAILED, why)),
        answer => Ok(answer),
    }
}

/// How often a gate that does not answer yet is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// Waits until the gate serves. The engine answers only after the protection is installed, the hint table is in place and its
/// sockets are bound, so an answer with one capture that listens proves all of it.
pub(super) fn wait_until_serving(config: &Path, patience: Duration) -> Result<(), ExitError> {
    let socket = monitor::control_socket(config)?;
    let start = clock::instant();
    loop {
        let left = patience.saturating_sub(clock::elapsed(start));
        // A question waits in the socket while the engine still loads.
        let why = match control::ask_within(&socket.path, &Question::Status, left.max(ASK_AGAIN)) {
            Ok(Answer::Status(status)) if status.captures.iter().any(|one| one.listening) => {
                return Ok(());
            }
            Ok(Answer::Status(_)) => "it listens on no interface".to_owned(),
            Ok(Answer::Failed(why)) => return Err(ExitError::new(FAILED, why)),
            Ok(_) => return Err(odd()),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Err(ExitError::new(UNAVAILABLE, reason(&error)));
            }
            Err(error) => error.to_string(),
        };
        if clock::elapsed(start) >= patience {
            let what = format!(
                "the gate at {} does not serve after {}: {why}; see journalctl -u posternd",
                socket.path.display(),
                time::human(patience)
            );
            return Err(ExitError::new(FAILED, what));
        }
        std::thread::sleep(ASK_AGAIN);
    }
}

/// Tells where the usual socket was asked because the config does not say which it is: another gate may have answered.
pub(super) fn tell_doubt(socket: &ControlSocket) {
    static ONCE: Once = Once::new();
    if let Some(why) = &socket.doubt {
        ONCE.call_once(|| {
            note(&format!(
                "{why} (so whoever serves {} was asked)",
                socket.path.display()
            ))
        });
    }
}

/// Why nothing answers, and what to do.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            format!(
                "it is not running: {error}; start it: systemctl start posternd, and journalctl -u posternd says why it ended"
            )
        }
        ErrorKind::PermissionDenied => format!("only root may ask ({error}); run this as root"),
        _ => format!("{error}; what journalctl -u posternd says last may tell why"),
    }
}

pub(super) fn odd() -> ExitError {
    ExitError::new(
        FAILED,
        "posternd answered something else; are daemon and command of one version?",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_nothing_answers_is_told_with_what_to_do() {
        for (kind, words) in [
            (ErrorKind::NotFound, "; start it: systemctl start posternd"),
            (ErrorKind::ConnectionRefused, "it is not running: "),
            (ErrorKind::PermissionDenied, "only root may ask ("),
            (ErrorKind::UnexpectedEof, "journalctl -u posternd says last"),
        ] {
            assert!(reason(&kind.into()).contains(words), "{kind}");
        }
    }
}
