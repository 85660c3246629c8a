//! Runs the command of `postern run`: starts it after the wait for the port, and forwards signals.
//!
//! One loop over events: the end of the command, and signals. Sends no knock.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{Receiver, SendError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use super::wake::{Alarm, Waker};
use crate::adapters::files;
use crate::adapters::process::user_command;

const SIGNALS: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];
/// Signals that a terminal sends to every process in its foreground, the command included.
const FROM_TERMINAL: [i32; 2] = [SIGINT, SIGQUIT];

/// Receives the signals of this process, so that none ends it before it has asked the gate to close.
#[derive(Debug)]
pub(crate) struct CommandRunner {
    sender: Sender<Event>,
    events: Receiver<Event>,
    /// What a signal interrupts.
    waker: Arc<Mutex<Option<Waker>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CommandExit {
    /// Its exit status; `None` if a signal ended it.
    pub(crate) status: Option<i32>,
    pub(crate) signal: Option<i32>,
}

#[derive(Debug)]
enum Event {
    Signal(i32),
    CommandEnded,
}

impl CommandRunner {
    pub(crate) fn new() -> io::Result<Self> {
        let (sender, events) = channel();
        let ignored = ignored_signals();
        // A signal that was ignored at the start, as under nohup, stays ignored, by the command too.
        let is_handled = |signal: &i32| ignored >> (signal - 1) & 1 == 0;
        let mut signals = Signals::new(SIGNALS.into_iter().filter(is_handled))?;
        let forward = sender.clone();
        let waker = Arc::new(Mutex::new(None::<Waker>));
        let interrupted = Arc::clone(&waker);
        thread::spawn(move || {
            let mut signals = signals.forever();
            signals.try_for_each(|signal| {
                forward.send(Event::Signal(signal))?;
                let waker = interrupted.lock().unwrap_or_else(PoisonError::into_inner);
                waker.iter().for_each(Waker::stop);
                Ok::<_, SendError<Event>>(())
            })
        });
        Ok(Self {
            sender,
            events,
            waker,
        })
    }

    /// Calls `wait`, which ends early if this alarm is stopped. A signal stops it. Returns the first one, too.
    pub(crate) fn during<T>(&self, alarm: &Alarm, wait: impl FnOnce() -> T) -> (T, Option<i32>) {
        self.interrupt(Some(alarm.waker()));
        let early = self.pending_signal();
        if early.is_some() {
            alarm.waker().stop();
        }
        let outcome = wait();
        self.interrupt(None);
        (outcome, early.or_else(|| self.pending_signal()))
    }

    fn interrupt(&self, waker: Option<Waker>) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = waker;
    }

    pub(crate) fn pending_signal(&self) -> Option<i32> {
        self.events.try_iter().find_map(|event| match event {
            Event::Signal(signal) => Some(signal),
            Event::CommandEnded => None,
        })
    }

    pub(crate) fn wait_for_signal(&self) -> i32 {
        loop {
            match self.events.recv() {
                Ok(Event::Signal(signal)) => return signal,
                Ok(Event::CommandEnded) => {}
                // Its own sender keeps the channel open.
                Err(_) => return SIGTERM,
            }
        }
    }

    /// Runs the command to its end, with the standard input and output of this process.
    pub(crate) fn run(&self, command: &[OsString]) -> io::Result<CommandExit> {
        let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut child = user_command::start(program, arguments)?;
        let (sender, id) = (self.sender.clone(), child.id());
        thread::spawn(move || {
            user_command::wait_for_end(id);
            sender.send(Event::CommandEnded)
        });
        loop {
            match self.events.recv() {
                Ok(Event::Signal(signal)) => forward(&child, signal),
                Ok(Event::CommandEnded) | Err(_) => return child.wait().map(CommandExit::from),
            }
        }
    }
}

impl From<ExitStatus> for CommandExit {
    fn from(status: ExitStatus) -> Self {
        Self {
            status: status.code(),
            signal: status.signal(),
        }
    }
}

impl CommandExit {
    /// The exit code as a shell reports it: the exit status, or 128 plus the signal.
    pub(crate) fn code(self) -> u8 {
        let of_signal = self.signal.map(|signal| signal.saturating_add(128));
        let code = self.status.or(of_signal).unwrap_or(1);
        u8::try_from(code).unwrap_or(1)
    }
}

/// The terminal has sent its signals to the command already.
fn forward(child: &Child, signal: i32) {
    if !(FROM_TERMINAL.contains(&signal) && is_in_foreground()) {
        user_command::send(child, signal);
    }
}

/// Whether this process is in the foreground of a terminal, where a person can answer and keys such as Ctrl-C reach it.
pub(crate) fn is_in_foreground() -> bool {
    let terminal = files::open_terminal().ok();
    let group = terminal.and_then(|terminal| rustix::termios::tcgetpgrp(terminal).ok());
    group == Some(rustix::process::getpgrp())
}

/// The signals that this process ignores since its start, one bit each; none if the system does not tell.
fn ignored_signals() -> u64 {
    let status = files::read_system(Path::new("/proc/self/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.unwrap_or_default()
}
