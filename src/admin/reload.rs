//! Asks the running posternd to read its config anew, and waits until it is in force or refused.

use std::io::ErrorKind;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::adapters::clock;
use crate::adapters::control::{self, Answer, Question};
use crate::core::order::Reloaded;

/// A new engine may take two minutes to load a hundred thousand users, and another reload may come first.
const PATIENCE: Duration = Duration::from_secs(300);

/// Before it is asked again.
const PAUSE: Duration = Duration::from_millis(200);

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The config is in force.
    Done,
    /// Nobody serves the control socket; the config is read at the next start.
    NotRunning,
    /// The new config can't be used and the old one stays in force; why, a line a problem.
    Refused(String),
    /// Nobody knows; why.
    Failed(String),
}

/// Asks for a reload over this control socket. Where another one is under way, asks again when it is over: it may have read
/// the config before it was changed.
pub fn reload(socket: &Path) -> Outcome {
    let start = clock::instant();
    loop {
        let why = match control::ask_within(socket, &Question::Reload, PATIENCE) {
            Ok(Answer::Reloaded(Reloaded::Done)) => return Outcome::Done,
            Ok(Answer::Reloaded(Reloaded::Refused(why))) => return Outcome::Refused(why),
            Ok(Answer::Failed(why)) => return Outcome::Failed(why),
            Ok(Answer::Reloaded(Reloaded::Busy)) => {
                "another reload is under way and does not end; see posternd's log".to_owned()
            }
            Ok(_) => {
                return Outcome::Failed(
                    "posternd answered something else; are daemon and command of one version?"
                        .to_owned(),
                );
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::ConnectionRefused
                ) =>
            {
                return Outcome::NotRunning;
            }
            // The engine that was asked went while another one took over.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
                ) =>
            {
                format!("posternd ends the connection without an answer ({error}); see its log")
            }
            Err(error) => {
                return Outcome::Failed(format!(
                    "posternd can't be asked on {}: {error}",
                    socket.display()
                ));
            }
        };
        if clock::elapsed(start) > PATIENCE {
            return Outcome::Failed(why);
        }
        thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    /// What `reload` makes of these answers, one after another.
    fn after(answers: Vec<Option<Answer>>) -> Outcome {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let listener = control::bind(&path).unwrap();
        let daemon = thread::spawn(move || {
            for told in answers {
                let (stream, _) = listener.accept().unwrap();
                let mut question = String::new();
                BufReader::new(&stream).read_line(&mut question).unwrap();
                assert_eq!(
                    serde_json::from_str::<Question>(&question).unwrap(),
                    Question::Reload
                );
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
    fn it_asks_again_until_its_own_reload_is_done_or_refused() {
        let busy = || Some(Answer::Reloaded(Reloaded::Busy));
        assert_eq!(
            after(vec![
                busy(),
                None,
                busy(),
                Some(Answer::Reloaded(Reloaded::Done))
            ]),
            Outcome::Done
        );
        let refused = Some(Answer::Reloaded(Reloaded::Refused("one\ntwo".to_owned())));
        assert_eq!(
            after(vec![busy(), refused]),
            Outcome::Refused("one\ntwo".to_owned())
        );
        assert!(
            matches!(after(vec![Some(Answer::Closed(1))]), Outcome::Failed(why) if why.contains("one version"))
        );
    }

    #[test]
    fn without_a_daemon_nothing_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        assert_eq!(reload(&path), Outcome::NotRunning);
        drop(control::bind(&path).unwrap());
        assert_eq!(reload(&path), Outcome::NotRunning);
    }
}
