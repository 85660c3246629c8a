//! Programs that a user names for the client: the command of `postern run`, and the program that prints one-time codes.
//!
//! They run as if the user had typed them: found by PATH, in the user's folder, terminal and process group, and with the
//! user's environment except for keys and codes. A program that must answer has a deadline.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use zeroize::Zeroizing;

use crate::adapters::clock;

const SECRETS: [&str; 2] = ["POSTERN_KEY", "POSTERN_CODE"];
const LINE_MAX: usize = 256;

#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    #[error("cannot be started: {0}")]
    Start(io::Error),
    #[error("failed: {0}")]
    Failed(ExitStatus),
    #[error("printed no line within {} and was killed", crate::model::time::human(*.0))]
    Late(Duration),
    #[error("printed nothing")]
    Silent,
}

pub(crate) fn start(program: &OsStr, arguments: &[impl AsRef<OsStr>]) -> io::Result<Child> {
    command(program, arguments).spawn()
}

#[expect(clippy::disallowed_methods, reason = "process may run programs")]
fn command(program: &OsStr, arguments: &[impl AsRef<OsStr>]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    for secret in SECRETS {
        command.env_remove(secret);
    }
    command
}

/// Waits until the child has ended, but does not reap it: its number stays its own, so that a signal hits no other process.
pub(crate) fn wait_for_end(child: u32) {
    let Some(pid) = i32::try_from(child).ok().and_then(Pid::from_raw) else {
        return;
    };
    while let Err(error) = waitid(
        WaitId::Pid(pid),
        WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
    ) {
        if error != rustix::io::Errno::INTR {
            return;
        }
    }
}

pub(crate) fn send(child: &Child, signal: i32) {
    if let Some(signal) = Signal::from_named_raw(signal) {
        let _ = kill_process(Pid::from_child(child), signal);
    }
}

pub(crate) fn ask(
    program: &OsStr,
    arguments: &[impl AsRef<OsStr>],
    deadline: Duration,
) -> Result<Zeroizing<Vec<u8>>, NoAnswer> {
    let spawned = command(program, arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = spawned.map_err(NoAnswer::Start)?;
    let answer = listen(&watch(&mut child), deadline);
    if answer.is_none() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(NoAnswer::Start)?;
    match answer {
        None => Err(NoAnswer::Late(deadline)),
        Some(_) if !status.success() => Err(NoAnswer::Failed(status)),
        Some(line) if line.is_empty() => Err(NoAnswer::Silent),
        Some(line) => Ok(line),
    }
}

enum Event {
    Line(Zeroizing<Vec<u8>>),
    Ended,
}

/// Two threads: one reads all output, so that the program never waits for a full pipe; one waits for its end. A grandchild
/// that keeps the pipe open delays nothing.
fn watch(child: &mut Child) -> Receiver<Event> {
    let (sender, events) = channel();
    if let Some(output) = child.stdout.take() {
        let sender = sender.clone();
        thread::spawn(move || read_line(output, &sender));
    }
    let id = child.id();
    thread::spawn(move || {
        wait_for_end(id);
        sender.send(Event::Ended)
    });
    events
}

fn listen(events: &Receiver<Event>, deadline: Duration) -> Option<Zeroizing<Vec<u8>>> {
    let start = clock::instant();
    let (mut line, mut has_ended) = (None, false);
    while line.is_none() || !has_ended {
        let left = deadline.saturating_sub(clock::elapsed(start));
        match events.recv_timeout(left).ok()? {
            Event::Line(read) => line = Some(read),
            Event::Ended => has_ended = true,
        }
    }
    line
}

fn read_line(mut output: ChildStdout, sender: &Sender<Event>) {
    // It never grows, so that no copy of a code stays behind.
    let mut line = Zeroizing::new(Vec::with_capacity(LINE_MAX));
    let mut buffer = Zeroizing::new([0; LINE_MAX]);
    let mut is_whole = false;
    loop {
        let read = match output.read(buffer.as_mut_slice()) {
            Ok(0) => break,
            Ok(read) => buffer.get(..read).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        if is_whole {
            continue;
        }
        let mut parts = read.splitn(2, |byte| *byte == b'\n');
        let part = parts.next().unwrap_or_default();
        let room = LINE_MAX.saturating_sub(line.len());
        line.extend_from_slice(part.get(..room).unwrap_or(part));
        if parts.next().is_some() {
            is_whole = true;
            let _ = sender.send(Event::Line(std::mem::take(&mut line)));
        }
    }
    if !is_whole {
        let _ = sender.send(Event::Line(line));
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn sh(script: &str, deadline: Duration) -> Result<String, NoAnswer> {
        ask(OsStr::new("sh"), &["-c", script], deadline)
            .map(|line| String::from_utf8(line.to_vec()).unwrap())
    }

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(200);

    #[test]
    fn first_line_is_the_answer() {
        let found = sh("echo 123456; head -c 1000000 /dev/zero", LONG).unwrap();
        assert_eq!(found, "123456");
        assert_eq!(sh("printf 123456", LONG).unwrap(), "123456");
        let long = sh("head -c 1000 /dev/zero | tr '\\0' x", LONG);
        assert_eq!(long.unwrap().len(), LINE_MAX);
    }

    #[test]
    fn command_has_the_users_environment() {
        let found = sh("test -n \"$PATH\" && cat && echo \"$CARGO_PKG_NAME\"", LONG).unwrap();
        assert_eq!(found, "postern");
    }

    #[test]
    fn grandchild_with_the_pipe_delays_nothing() {
        let start = Instant::now();
        assert_eq!(sh("sleep 8 & echo 123456", LONG).unwrap(), "123456");
        assert!(start.elapsed() < Duration::from_secs(7));
    }

    #[test]
    fn late_program_gives_no_answer() {
        let late = sh("echo 123456; sleep 8", SHORT).unwrap_err().to_string();
        assert_eq!(late, "printed no line within 200ms and was killed");
    }

    #[test]
    fn end_is_awaited_without_reaping() {
        let mut child = start(OsStr::new("sh"), &["-c", "exit 7"]).unwrap();
        wait_for_end(child.id());
        send(&child, 15);
        assert_eq!(child.wait().unwrap().code(), Some(7));
    }
}
