//! The control socket: one question and one answer a connection, a line of JSON each.
//!
//! The monitor binds it and hands it to the engine, which serves it. Only root may ask. Bounded in length and time, so
//! that a slow or hostile client costs one thread a second or two and no more.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::grant::Grant;
use crate::order::Selection;

/// Version of the shape of answers.
pub const VERSION: u32 = 1;

const QUESTION_MAX: u64 = 4096;
const ANSWER_MAX: u64 = 64 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(2);

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Question {
    /// How the engine does.
    Status,
    /// What is open.
    Grants,
    /// Close grants.
    Close(Selection),
    /// End a trial: Postern stays.
    Confirm,
    /// What is counted, for a monitoring system.
    Metrics,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Answer {
    /// To `Status`.
    Status(Status),
    /// To `Grants`.
    Grants(Vec<Grant>),
    /// To `Close`: how many were closed.
    Closed(usize),
    /// To `Confirm`: whether there was a trial.
    Confirmed(bool),
    /// To `Metrics`: text in the OpenMetrics form.
    Metrics(String),
    /// It could not be done, and why.
    Failed(String),
}

/// How the engine does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// [`VERSION`].
    pub version: u32,
    /// The gate's name.
    pub gate: String,
    /// How long this engine has served, milliseconds.
    pub uptime_ms: u64,
    /// How many users there are.
    pub users: usize,
    /// Marks that are remembered.
    pub marks: usize,
    /// Knocks that were admitted.
    pub admitted: u64,
    /// Reasons that were given at least once, by how often: `drop replay`, `drop malformed (padding)`, `refuse quota`.
    pub reasons: std::collections::BTreeMap<String, u64>,
}

/// Binds the socket so that only root can connect; a socket that nobody serves any more is replaced.
///
/// # Errors
/// What the kernel said.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Waits for the next question of somebody who may ask, and the stream to answer on. Whoever may not ask, or asks
/// nonsense, is told so.
///
/// # Errors
/// When the listener itself is broken.
pub fn next(listener: &UnixListener) -> io::Result<(Question, UnixStream)> {
    loop {
        let (stream, _) = listener.accept()?;
        match question(&stream) {
            Ok(question) => return Ok((question, stream)),
            Err(error) => answer(stream, &Answer::Failed(error.to_string())),
        }
    }
}

fn question(stream: &UnixStream) -> io::Result<Question> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    if rustix::net::sockopt::socket_peercred(stream)?.uid.as_raw() != 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "only root may ask"));
    }
    let mut line = String::new();
    BufReader::new(stream.take(QUESTION_MAX)).read_line(&mut line)?;
    serde_json::from_str(&line).map_err(io::Error::other)
}

/// Answers; whoever does not listen any more has lost nothing of ours.
pub fn answer(mut stream: UnixStream, answer: &Answer) {
    if let Ok(mut line) = serde_json::to_vec(answer) {
        line.push(b'\n');
        let _ = stream.write_all(&line);
    }
}

/// Asks the daemon behind this socket.
///
/// # Errors
/// What the kernel said, or an answer that is none.
pub fn ask(path: &Path, question: &Question) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE.saturating_mul(5)))?;
    let mut line = serde_json::to_vec(question)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream.take(ANSWER_MAX)).read_line(&mut answer)?;
    serde_json::from_str(&answer).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_of_root_is_answered_and_nonsense_is_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let listener = bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let gate = std::thread::spawn(move || {
            let (question, stream) = next(&listener).unwrap();
            answer(stream, &Answer::Closed(3));
            question
        });
        let mut nonsense = UnixStream::connect(&path).unwrap();
        nonsense.write_all(b"{\"exec\":\"sh\"}\n").unwrap();
        let mut said = String::new();
        nonsense.read_to_string(&mut said).unwrap();
        assert!(said.contains("failed"), "{said}");
        if rustix::process::geteuid().is_root() {
            assert_eq!(ask(&path, &Question::Close(Selection::All)).unwrap(), Answer::Closed(3));
            assert_eq!(gate.join().unwrap(), Question::Close(Selection::All));
        } else {
            assert!(matches!(ask(&path, &Question::Status).unwrap(), Answer::Failed(why) if why.contains("root")));
        }
    }
}
