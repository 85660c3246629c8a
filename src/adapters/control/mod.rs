//! The control socket: one question and one answer a connection, a line of JSON each.
//!
//! The monitor binds it and hands it to the engine, whose `server` serves it. Only root may ask.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::core::order::{Reloaded, Selection};
use crate::model::grant::Grant;

pub mod mark_text;
pub mod server;
pub mod status;

pub use mark_text::MarkText;
pub use server::{Asker, answer};
pub use status::{Seen, Status};

/// Version of the shape of answers.
pub const VERSION: u32 = 1;

const ANSWER_MAX: u64 = 64 * 1024 * 1024;
/// The daemon answers at once, unless its firewall is slow; longer than it takes until it gives up an asker (`server`), so that its end of it is told.
const PATIENCE: Duration = Duration::from_secs(12);

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
    /// Read the config anew.
    Reload,
    /// Whether a packet with this mark was seen.
    Seen(MarkText),
    /// What is counted, for a monitoring system.
    Metrics,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Answer {
    /// To `Status`.
    Status(Box<Status>),
    /// To `Grants`.
    Grants(Vec<Grant>),
    /// To `Close`: how many were closed.
    Closed(usize),
    /// To `Confirm`: whether there was a trial.
    Confirmed(bool),
    /// To `Reload`: what became of it.
    Reloaded(Reloaded),
    /// To `Seen`.
    Seen(Option<Seen>),
    /// To `Metrics`: text in the OpenMetrics form.
    Metrics(String),
    /// It could not be done, and why.
    Failed(String),
}

/// Binds the socket so that only root can connect; a socket that nobody serves any more is replaced.
///
/// # Errors
/// What the kernel said.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Whether a daemon listens behind this socket.
pub fn is_served(path: &Path) -> bool {
    UnixStream::connect(path).is_ok()
}

/// Asks the daemon behind this socket.
///
/// # Errors
/// What the kernel said, or an answer that is none.
pub fn ask(path: &Path, question: &Question) -> io::Result<Answer> {
    ask_within(path, question, PATIENCE)
}

/// The same for a question whose answer takes its time.
///
/// # Errors
/// As [`ask`]; `UnexpectedEof` where the daemon went before it answered.
pub fn ask_within(path: &Path, question: &Question, patience: Duration) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(patience))?;
    let mut line = serde_json::to_vec(question)?;
    line.push(b'\n');
    match stream.write_all(&line) {
        // Whoever may not ask is told so before the question is heard.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error),
        _ => {}
    }
    let mut answer = String::new();
    if BufReader::new(stream.take(ANSWER_MAX)).read_line(&mut answer)? == 0 {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "it ended the connection without an answer",
        ));
    }
    serde_json::from_str(&harmless(&answer)).map_err(io::Error::other)
}

/// JSON in which texts have spaces for control characters, but for new lines and tabs: an engine may be hostile, and what it says goes to
/// root's terminal. They stand there as escapes or, those that JSON does not forbid, by themselves.
fn harmless(json: &str) -> String {
    let mut plain = String::with_capacity(json.len());
    let mut letters = json.chars();
    while let Some(letter) = letters.next() {
        match (letter, if letter == '\\' { letters.next() } else { None }) {
            ('\\', Some('b' | 'f' | 'r')) => plain.push(' '),
            ('\\', Some('u')) => {
                let digits: String = letters.by_ref().take(4).collect();
                let meant = u32::from_str_radix(&digits, 16)
                    .ok()
                    .and_then(char::from_u32);
                if meant.is_some_and(is_command) {
                    plain.push(' ')
                } else {
                    plain.extend(["\\u", &digits])
                }
            }
            ('\\', Some(other)) => plain.extend(['\\', other]),
            (letter, _) => plain.push(if is_command(letter) { ' ' } else { letter }),
        }
    }
    plain
}

/// Whether a terminal may take this letter for a command.
fn is_command(letter: char) -> bool {
    letter.is_control() && !matches!(letter, '\n' | '\t')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever way it is written: escaped as serde writes it, with digits for every letter, or as it is where JSON allows that.
        #[test]
        fn a_text_that_is_answered_has_no_control_characters_and_is_else_as_it_was(text in r#"[\x00-\x1f\x7f-\u{9f}a"\\\\u0é🚪]{0,20}"#) {
            let expected: String = text.chars().map(|letter| if is_command(letter) { ' ' } else { letter }).collect();
            let digits: String = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
            for json in [serde_json::to_string(&text).unwrap(), format!("\"{digits}\"")] {
                let read: String = serde_json::from_str(&harmless(&json)).unwrap();
                prop_assert_eq!(&read, &expected, "{}", json);
            }
        }
    }

    #[test]
    fn what_is_no_json_stays_none() {
        for json in ["", "\\", "\"\\u00", "\"\\u+01b\"\\", "{\"a\u{1b}", "hello"] {
            assert!(
                serde_json::from_str::<serde_json::Value>(&harmless(json)).is_err(),
                "{json:?}"
            );
        }
    }

    #[test]
    fn only_its_owner_can_connect_and_an_old_socket_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        drop(bind(&path).unwrap());
        let _listener = bind(&path).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(is_served(&path) && !is_served(&folder.path().join("other.sock")));
    }
}
