//! Programs that a user names for the client: the command of `postern run`, and the one that prints one-time codes.
//!
//! They run as if the user had typed them: found by PATH, with the user's environment but for keys and codes in it, and with the
//! user's folder, terminal and process group.
//! Never through a shell; what is asked for an answer has a deadline. Judges no answer.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use zeroize::Zeroizing;

/// Variables that were meant for this process alone.
const SECRETS: [&str; 2] = ["POSTERN_KEY", "POSTERN_CODE"];
/// More than any answer has that is a line.
const LINE_MAX: usize = 256;

/// Why a program gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// It never ran.
    #[error("cannot be started: {0}")]
    Start(io::Error),
    /// It said with its exit status that it failed.
    #[error("failed: {0}")]
    Failed(ExitStatus),
    /// Its time was up, and it was killed.
    #[error("printed no line within {} and was killed", crate::model::time::human(*.0))]
    Late(Duration),
    /// It ended without a line.
    #[error("printed nothing")]
    Silent,
}

/// Starts a command with the standard input, output and error of this process.
///
/// # Errors
/// What the system said; [`io::ErrorKind::NotFound`] where there is no such program.
pub fn start(program: &OsStr, arguments: &[impl AsRef<OsStr>]) -> io::Result<Child> {
    command(program, arguments).spawn()
}

#[expect(clippy::disallowed_methods, reason = "this is the one place")]
fn command(program: &OsStr, arguments: &[impl AsRef<OsStr>]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    for secret in SECRETS {
        command.env_remove(secret);
    }
    command
}

/// Waits until the child has ended and leaves it there, so that its number is still its own: a signal that is sent meanwhile
/// can hit nobody else. Reaped it is by `Child::wait`.
pub fn wait_for_end(child: u32) {
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

/// Sends a signal, such as SIGTERM, to a child that is not reaped.
pub fn send(child: &Child, signal: i32) {
    if let Some(signal) = Signal::from_named_raw(signal) {
        // Whoever has ended already needs none.
        let _ = kill_process(Pid::from_child(child), signal);
    }
}

/// Runs a program without input and takes the first line that it prints. It may speak to the user on standard error and on the
/// terminal.
///
/// # Errors
/// When there is no such program, it fails, or it prints nothing in time.
pub fn ask(
    program: &OsStr,
    arguments: &[impl AsRef<OsStr>],
    deadline: Duration,
) -> Result<Zeroizing<Vec<u8>>, NoAnswer> {
    let spawned = command(program, arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = spawned.map_err(NoAnswer::Start)?;
    let answer = listen(&watch(&mut child, deadline));
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
    Late,
}

/// Three threads: one reads all that is printed, so that nothing waits for a full pipe, one waits for the end, one for the time to
/// be up. A grandchild that keeps the pipe holds nobody up.
fn watch(child: &mut Child, deadline: Duration) -> Receiver<Event> {
    let (sender, events) = channel();
    if let Some(output) = child.stdout.take() {
        let sender = sender.clone();
        thread::spawn(move || read(output, &sender));
    }
    let (number, ended) = (child.id(), sender.clone());
    thread::spawn(move || {
        wait_for_end(number);
        ended.send(Event::Ended)
    });
    thread::spawn(move || {
        thread::sleep(deadline);
        sender.send(Event::Late)
    });
    events
}

/// The line, once the program has ended well or not; none if the time is up before both have come.
fn listen(events: &Receiver<Event>) -> Option<Zeroizing<Vec<u8>>> {
    let (mut line, mut ended) = (None, false);
    while line.is_none() || !ended {
        match events.recv() {
            Ok(Event::Line(read)) => line = Some(read),
            Ok(Event::Ended) => ended = true,
            Ok(Event::Late) | Err(_) => return None,
        }
    }
    line
}

fn read(mut output: ChildStdout, sender: &Sender<Event>) {
    // It never grows, so that no copy of a code stays behind.
    let mut line = Zeroizing::new(Vec::with_capacity(LINE_MAX));
    let mut told = false;
    let mut buffer = Zeroizing::new([0; LINE_MAX]);
    loop {
        let read = match output.read(buffer.as_mut_slice()) {
            Ok(0) => break,
            Ok(read) => buffer.get(..read).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        if told {
            continue;
        }
        let (part, end) = match read.iter().position(|byte| *byte == b'\n') {
            Some(at) => (read.get(..at).unwrap_or_default(), true),
            None => (read, false),
        };
        let room = LINE_MAX.saturating_sub(line.len());
        line.extend_from_slice(part.get(..room).unwrap_or(part));
        if end {
            told = true;
            let _ = sender.send(Event::Line(std::mem::take(&mut line)));
        }
    }
    if !told {
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
    fn the_first_line_is_the_answer_however_much_follows() {
        assert_eq!(
            sh("echo 123456; head -c 1000000 /dev/zero", LONG).unwrap(),
            "123456"
        );
        assert_eq!(sh("printf 123456", LONG).unwrap(), "123456");
        assert_eq!(
            sh("head -c 1000 /dev/zero | tr '\\0' x", LONG)
                .unwrap()
                .len(),
            LINE_MAX
        );
    }

    #[test]
    fn the_environment_is_the_users_own_and_there_is_no_input() {
        assert_eq!(
            sh("test -n \"$PATH\" && cat && echo \"$CARGO_PKG_NAME\"", LONG).unwrap(),
            "postern"
        );
    }

    #[test]
    fn a_grandchild_that_keeps_the_pipe_holds_nobody_up() {
        let start = Instant::now();
        assert_eq!(sh("sleep 8 & echo 123456", LONG).unwrap(), "123456");
        assert!(start.elapsed() < Duration::from_secs(7));
    }

    #[test]
    fn what_fails_is_silent_or_late_gives_no_answer() {
        assert!(matches!(
            ask(OsStr::new("no-such-program"), &[""; 0], LONG),
            Err(NoAnswer::Start(_))
        ));
        assert_eq!(
            sh("echo 123456; exit 3", LONG).unwrap_err().to_string(),
            "failed: exit status: 3"
        );
        assert!(matches!(sh("exit 0", LONG), Err(NoAnswer::Silent)));
        assert_eq!(
            sh("echo 123456; sleep 8", SHORT).unwrap_err().to_string(),
            "printed no line within 200ms and was killed"
        );
    }

    #[test]
    fn an_end_can_be_waited_for_without_reaping() {
        let mut child = start(OsStr::new("sh"), &["-c", "exit 7"]).unwrap();
        wait_for_end(child.id());
        send(&child, 15);
        assert_eq!(child.wait().unwrap().code(), Some(7));
    }
}
