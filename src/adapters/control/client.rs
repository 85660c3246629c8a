//! Binds the control socket, and asks the daemon behind it.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use super::question::{Answer, Question};
use crate::model::harmless::harmless_json;

const ANSWER_MAX: u64 = 64 * 1024 * 1024;
/// Longer than the server waits for an answer, so that it can report its own deadline.
const PATIENCE: Duration = Duration::from_secs(12);

/// Binds the socket for a [`Server`](super::server::Server), so that only root can connect. A socket that nobody serves any more is
/// replaced.
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
    serde_json::from_str(&harmless_json(&answer)).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

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
