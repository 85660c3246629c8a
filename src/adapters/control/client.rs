//! Binds the control socket, and asks the daemon behind it.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use super::question::{Answer, Question};

const ANSWER_MAX: u64 = 64 * 1024 * 1024;
/// Longer than the server waits for an answer, so that it can report its own deadline.
const PATIENCE: Duration = Duration::from_secs(12);

/// Binds the socket for a [`Server`](super::server::Server), so that only root can connect; a socket that nobody serves any more is replaced.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    // An engine cannot change it.
    listener.set_nonblocking(true)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Whether a daemon listens behind this socket.
pub(crate) fn is_served(path: &Path) -> bool {
    UnixStream::connect(path).is_ok()
}

pub(crate) fn ask(path: &Path, question: &Question) -> io::Result<Answer> {
    ask_within(path, question, PATIENCE)
}

/// Like [`ask`], with another deadline.
pub(crate) fn ask_within(
    path: &Path,
    question: &Question,
    patience: Duration,
) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(patience))?;
    let mut line = serde_json::to_vec(question)?;
    line.push(b'\n');
    match stream.write_all(&line) {
        // The server refuses a client that may not ask before the client sends its question.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error),
        _ => {}
    }
    let mut answer = String::new();
    let read = BufReader::new(stream.take(ANSWER_MAX)).read_line(&mut answer);
    match read {
        Ok(1..) => {}
        // A daemon that stops has not read the question.
        Err(error) if error.kind() != ErrorKind::ConnectionReset => return Err(error),
        Ok(0) | Err(_) => {
            let why = "it ended the connection without an answer";
            return Err(io::Error::new(ErrorKind::UnexpectedEof, why));
        }
    }
    serde_json::from_str(&without_control_characters(&answer)).map_err(io::Error::other)
}

/// Replaces control characters by spaces, except new lines and tabs. An engine may be hostile, and root's terminal shows its answers.
/// A control character may be escaped, or literal where JSON allows that.
fn without_control_characters(json: &str) -> String {
    let mut plain = String::with_capacity(json.len());
    let mut letters = json.chars();
    while let Some(letter) = letters.next() {
        match (letter, if letter == '\\' { letters.next() } else { None }) {
            ('\\', Some('b' | 'f' | 'r')) => plain.push(' '),
            ('\\', Some('u')) => {
                let digits: String = letters.by_ref().take(4).collect();
                let meant = u32::from_str_radix(&digits, 16).ok();
                match meant.and_then(char::from_u32) {
                    Some(letter) if is_control(letter) => plain.push(' '),
                    _ => plain.extend(["\\u", &digits]),
                }
            }
            ('\\', Some(other)) => plain.extend(['\\', other]),
            (letter, _) => plain.push(if is_control(letter) { ' ' } else { letter }),
        }
    }
    plain
}

fn is_control(letter: char) -> bool {
    letter.is_control() && !matches!(letter, '\n' | '\t')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn answer_has_no_control_characters(text in r#"[\x00-\x1f\x7f-\u{9f}a"\\\\u0é🚪]{0,20}"#) {
            let expected: String = text.chars().map(|letter| if is_control(letter) { ' ' } else { letter }).collect();
            let digits: String = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
            for json in [serde_json::to_string(&text).unwrap(), format!("\"{digits}\"")] {
                let read: String = serde_json::from_str(&without_control_characters(&json)).unwrap();
                prop_assert_eq!(&read, &expected, "{}", json);
            }
        }
    }

    #[test]
    fn invalid_json_stays_invalid() {
        for json in ["", "\\", "\"\\u00", "\"\\u+01b\"\\", "{\"a\u{1b}", "hello"] {
            assert!(
                serde_json::from_str::<serde_json::Value>(&without_control_characters(json))
                    .is_err(),
                "{json:?}"
            );
        }
    }

    #[test]
    fn socket_is_private_and_replaces_an_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        drop(bind(&path).unwrap());
        let _listener = bind(&path).unwrap();
        let found = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, 0o600);
        assert!(is_served(&path) && !is_served(&folder.path().join("other.sock")));
    }
}
