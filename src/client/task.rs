//! A command that runs behind an open door: waits for the door, starts the command, hands signals on to it, and says when it is
//! time to knock again.
//!
//! One loop over what happens: the door, the command's end, signals and the clock. Sends no knock by itself.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use super::{ServiceOpen, in_front_of_terminal, wait_for};
use crate::adapters::files;
use crate::adapters::process::own;

/// What is handed on to the command.
const SIGNALS: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];
/// Those that a terminal sends to everyone in front of it, the command included.
const FROM_TERMINAL: [i32; 2] = [SIGINT, SIGQUIT];

/// Signals are taken from here on: none ends this process before the door is closed again.
#[derive(Debug)]
pub struct Task {
    happened: Sender<Happened>,
    events: Receiver<Happened>,
}

/// How waiting for the door ended.
#[derive(Debug)]
pub enum Waited {
    /// It is open.
    Open(ServiceOpen),
    /// It did not open in time.
    Shut,
    /// A signal came first.
    Stopped(i32),
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its exit status; none where a signal ended it.
    pub status: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

#[derive(Debug)]
enum Happened {
    Signal(i32),
    Waited(Option<ServiceOpen>),
    Ended,
}

impl Task {
    /// Takes the signals.
    ///
    /// # Errors
    /// What the system said.
    pub fn begin() -> io::Result<Self> {
        let (happened, events) = channel();
        let ignored = ignored();
        // Whoever started this with a signal ignored, such as nohup does, wants it to stay so, for the command as well.
        let mut signals = Signals::new(
            SIGNALS
                .into_iter()
                .filter(|signal| ignored >> (signal - 1) & 1 == 0),
        )?;
        let sender = happened.clone();
        thread::spawn(move || {
            signals
                .forever()
                .try_for_each(|signal| sender.send(Happened::Signal(signal)))
        });
        Ok(Self { happened, events })
    }

    /// Waits until one of these doors opens.
    pub fn wait(&self, doors: Vec<SocketAddr>, limit: Duration) -> Waited {
        let happened = self.happened.clone();
        thread::spawn(move || happened.send(Happened::Waited(wait_for(&doors, limit))));
        loop {
            match self.events.recv() {
                Ok(Happened::Waited(Some(opening))) => return Waited::Open(opening),
                Ok(Happened::Signal(signal)) => return Waited::Stopped(signal),
                Ok(Happened::Waited(None)) | Err(_) => return Waited::Shut,
                Ok(Happened::Ended) => {}
            }
        }
    }

    /// The signal that came already, if one did.
    pub fn stopped(&self) -> Option<i32> {
        self.events.try_iter().find_map(|event| match event {
            Happened::Signal(signal) => Some(signal),
            Happened::Waited(_) | Happened::Ended => None,
        })
    }

    /// Runs the command to its end, with the standard input and output of this process. After `first`, if that is given, `again` is
    /// called, which says when to call it next.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(
        &self,
        command: &[OsString],
        first: Option<Duration>,
        again: &mut dyn FnMut() -> Duration,
    ) -> io::Result<Ended> {
        let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut child = own::start(program, arguments)?;
        let (happened, number) = (self.happened.clone(), child.id());
        thread::spawn(move || {
            own::wait_for_end(number);
            happened.send(Happened::Ended)
        });
        let mut next = first;
        let mut since = crate::adapters::clock::instant();
        loop {
            match self
                .next(next.map(|next| next.saturating_sub(crate::adapters::clock::elapsed(since))))
            {
                Ok(Happened::Ended) => return child.wait().map(Ended::of),
                Ok(Happened::Signal(signal)) => hand_on(&child, signal),
                Ok(Happened::Waited(_)) => {}
                Err(RecvTimeoutError::Timeout) => {
                    next = Some(again());
                    since = crate::adapters::clock::instant();
                }
                Err(RecvTimeoutError::Disconnected) => return child.wait().map(Ended::of),
            }
        }
    }

    fn next(&self, within: Option<Duration>) -> Result<Happened, RecvTimeoutError> {
        match within {
            Some(within) => self.events.recv_timeout(within),
            None => self
                .events
                .recv()
                .map_err(|_| RecvTimeoutError::Disconnected),
        }
    }
}

impl Ended {
    fn of(status: ExitStatus) -> Self {
        Self {
            status: status.code(),
            signal: status.signal(),
        }
    }

    /// As a shell says it: the exit status, or 128 and the signal.
    pub fn code(self) -> u8 {
        let code = self
            .status
            .or_else(|| self.signal.map(|signal| signal.saturating_add(128)));
        code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
    }
}

/// A command that the terminal has told already is not told twice.
fn hand_on(child: &Child, signal: i32) {
    if !(FROM_TERMINAL.contains(&signal) && in_front_of_terminal()) {
        own::send(child, signal);
    }
}

/// The signals that this process was started to ignore, a bit each; none where the system does not say.
fn ignored() -> u64 {
    let status = files::read_system(Path::new("/proc/self/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_status_is_passed_on_and_a_signal_counts_from_128() {
        let code = |status, signal| Ended { status, signal }.code();
        assert_eq!(
            (
                code(Some(0), None),
                code(Some(255), None),
                code(None, Some(9)),
                code(None, Some(15))
            ),
            (0, 255, 137, 143)
        );
    }

    #[test]
    fn a_command_runs_to_its_end_while_knocks_are_due_again_and_again() {
        let task = Task::begin().unwrap();
        let mut renewals = 0;
        let command = ["sh", "-c", "sleep 0.5; exit 7"].map(OsString::from);
        let mut again = || {
            renewals += 1;
            Duration::from_millis(20)
        };
        assert_eq!(
            task.run(&command, Some(Duration::from_millis(20)), &mut again)
                .unwrap()
                .code(),
            7
        );
        assert!(renewals >= 2, "{renewals}");
        let none = task
            .run(&[OsString::from("no-such-program")], None, &mut || {
                Duration::MAX
            })
            .unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::NotFound);
    }
}
