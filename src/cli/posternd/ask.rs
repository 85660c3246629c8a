//! Asks the running daemon over its control socket.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Once;
use std::time::Duration;

use super::output::note;
use super::shared_arguments::Report;
use crate::adapters::clock;
use crate::adapters::control::{self, Answer, Question};
use crate::daemon::monitor::{self, ControlPath};
use crate::model::exit::{ExitError, FAILED, UNAVAILABLE};
use crate::model::time;

pub(super) fn ask(report: &Report, question: &Question) -> Result<Answer, ExitError> {
    let config = &report.config.config;
    let socket = monitor::control_path(config)?;
    let path = &socket.path;
    let answer = control::ask(path, question).map_err(|error| {
        let (path, why) = (path.display(), reason(&error));
        monitor::unanswered(config, &format!("no posternd answers on {path}: {why}"))
    })?;
    note_doubt(&socket);
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
    let socket = monitor::control_path(config)?;
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
            Ok(_) => return Err(unexpected()),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Err(ExitError::new(UNAVAILABLE, reason(&error)));
            }
            Err(error) => error.to_string(),
        };
        if clock::elapsed(start) >= patience {
            let (path, after) = (socket.path.display(), time::human(patience));
            let what = format!("the gate at {path} does not serve after {after}: {why}");
            let cure = "see journalctl -u posternd";
            return Err(ExitError::new(FAILED, format!("{what}; {cure}")));
        }
        std::thread::sleep(ASK_AGAIN);
    }
}

/// Notes once that the config does not name the socket: another gate may have answered on the usual one.
pub(super) fn note_doubt(socket: &ControlPath) {
    static ONCE: Once = Once::new();
    if let Some(why) = &socket.doubt {
        let path = socket.path.display();
        ONCE.call_once(|| note(&format!("{why} (so the gate at {path} was asked)")));
    }
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            format!(
                "it is not running: {error}; start it: systemctl start posternd; journalctl -u posternd shows why it ended"
            )
        }
        ErrorKind::PermissionDenied => format!("only root may ask it ({error}); run this as root"),
        _ => format!("{error}; see the last lines of journalctl -u posternd"),
    }
}

pub(super) fn unexpected() -> ExitError {
    ExitError::new(FAILED, control::UNEXPECTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_answer_names_the_cure() {
        for (kind, words) in [
            (ErrorKind::NotFound, "; start it: systemctl start posternd"),
            (ErrorKind::ConnectionRefused, "it is not running: "),
            (ErrorKind::PermissionDenied, "only root may ask it ("),
            (ErrorKind::UnexpectedEof, "see the last lines of journalctl"),
        ] {
            assert!(reason(&kind.into()).contains(words), "{kind}");
        }
    }
}
