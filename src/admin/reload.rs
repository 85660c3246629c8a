//! Has the running posternd reload its config, and waits for the result.

use std::io::ErrorKind;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::adapters::clock;
use crate::adapters::control::{self, Answer, Question};
use crate::core::order::Reloaded;

/// A new engine may need two minutes for a hundred thousand users, and another reload may come first.
const PATIENCE: Duration = Duration::from_secs(300);

const PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReloadResult {
    Done,
    NotRunning,
    /// The new config is invalid and the old one stays in force; one line for each problem.
    Refused(String),
    Failed(String),
}

/// Asks for a reload over this control socket. If another reload runs, asks again after it, because it may have read the
/// config before the change.
pub(crate) fn reload(socket: &Path) -> ReloadResult {
    let start = clock::instant();
    loop {
        let why = match control::ask_within(socket, &Question::Reload, PATIENCE) {
            Ok(Answer::Reloaded(Reloaded::Done)) => return ReloadResult::Done,
            Ok(Answer::Reloaded(Reloaded::Refused(why))) => return ReloadResult::Refused(why),
            Ok(Answer::Failed(why)) => return ReloadResult::Failed(why),
            Ok(Answer::Reloaded(Reloaded::Busy)) => {
                "another reload does not end; see posternd's log".to_owned()
            }
            Ok(_) => return ReloadResult::Failed(control::UNEXPECTED.to_owned()),
            Err(error) => match error.kind() {
                ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                    return ReloadResult::NotRunning;
                }
                // The engine stopped because a new one took over.
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                    let what = "posternd closed the connection without an answer";
                    format!("{what} ({error}); see its log")
                }
                _ => {
                    let what = format!("cannot ask posternd on {}: {error}", socket.display());
                    return ReloadResult::Failed(what);
                }
            },
        };
        if clock::elapsed(start) > PATIENCE {
            return ReloadResult::Failed(why);
        }
        thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    fn after(answers: Vec<Option<Answer>>) -> ReloadResult {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let listener = control::bind(&path).unwrap();
        listener.set_nonblocking(false).unwrap();
        let daemon = thread::spawn(move || {
            for told in answers {
                let (stream, _) = listener.accept().unwrap();
                let mut question = String::new();
                BufReader::new(&stream).read_line(&mut question).unwrap();
                let found = serde_json::from_str::<Question>(&question).unwrap();
                assert_eq!(found, Question::Reload);
                if let Some(told) = told {
                    serde_json::to_writer(&stream, &told).unwrap();
                }
            }
        });
        let outcome = reload(&path);
        daemon.join().unwrap();
        outcome
    }

    #[test]
    fn busy_reload_is_asked_again() {
        let busy = || Some(Answer::Reloaded(Reloaded::Busy));
        let done = Some(Answer::Reloaded(Reloaded::Done));
        let found = after(vec![busy(), None, busy(), done]);
        assert_eq!(found, ReloadResult::Done);
        let refused = Some(Answer::Reloaded(Reloaded::Refused("one\ntwo".to_owned())));
        let found = after(vec![busy(), refused]);
        assert_eq!(found, ReloadResult::Refused("one\ntwo".to_owned()));
        assert!(
            matches!(after(vec![Some(Answer::Closed(1))]), ReloadResult::Failed(why) if why.contains("same version"))
        );
    }

    #[test]
    fn missing_daemon_is_no_wait() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        assert_eq!(reload(&path), ReloadResult::NotRunning);
        drop(control::bind(&path).unwrap());
        assert_eq!(reload(&path), ReloadResult::NotRunning);
    }
}
