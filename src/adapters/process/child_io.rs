//! Feeds a child process and reads its output until it ends.

use std::os::fd::{AsFd, OwnedFd};
use std::process::Child;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::adapters::clock;
use crate::model::run::{Call, Ran, RunError};

/// Only this many bytes of standard error are kept; the rest is read and dropped.
pub(super) const STDERR_MAX: usize = 64 << 10;

/// One loop over all pipes, so that no full pipe blocks another. The end of the child counts, not the end of its pipes: a
/// grandchild that keeps them open does not delay the result.
pub(super) fn attend(
    child: &mut Child,
    call: &Call<'_>,
    deadline: Duration,
) -> Result<Ran, RunError> {
    let start = clock::instant();
    let ended = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).map_err(lost)?;
    let mut stdin = Input {
        pipe: nonblocking(child.stdin.take())?,
        rest: call.stdin,
    };
    let mut stdout = Output::new(nonblocking(child.stdout.take())?, call.most);
    let mut stderr = Output::new(nonblocking(child.stderr.take())?, STDERR_MAX);
    loop {
        let left = deadline.saturating_sub(clock::elapsed(start));
        let mut waiting = vec![PollFd::new(&ended, PollFlags::IN)];
        let input = stdin.pipe.iter();
        waiting.extend(input.map(|pipe| PollFd::new(pipe, PollFlags::OUT)));
        let outputs = stdout.pipe.iter().chain(&stderr.pipe);
        waiting.extend(outputs.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        let timeout = Timespec::try_from(left).ok();
        match poll(&mut waiting, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(lost(error)),
        }
        let has_ended = waiting.first().is_some_and(|fd| !fd.revents().is_empty());
        drop(waiting);
        stdin.write();
        stdout.read();
        stderr.read();
        if stdout.overflowed {
            return Err(RunError::TooMuch(call.most));
        }
        if has_ended {
            return Ok(Ran {
                status: child.wait().map_err(lost)?.code(),
                stdout: stdout.text(),
                stderr: stderr.text(),
            });
        }
        if clock::elapsed(start) >= deadline {
            return Err(RunError::Deadline(deadline));
        }
    }
}

struct Input<'a> {
    pipe: Option<OwnedFd>,
    rest: &'a [u8],
}

impl Input<'_> {
    /// Writes what fits. Closes the pipe at the end, or if the program stopped reading.
    fn write(&mut self) {
        while let Some(pipe) = &self.pipe {
            if self.rest.is_empty() {
                self.pipe = None;
                return;
            }
            match rustix::io::write(pipe.as_fd(), self.rest) {
                Ok(written) => self.rest = self.rest.get(written..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => self.pipe = None,
            }
        }
    }
}

struct Output {
    pipe: Option<OwnedFd>,
    kept: Vec<u8>,
    most: usize,
    overflowed: bool,
}

impl Output {
    fn new(pipe: Option<OwnedFd>, most: usize) -> Self {
        Self {
            pipe,
            kept: Vec::new(),
            most,
            overflowed: false,
        }
    }

    /// Reads what is there, at most one mebibyte, so that an endless writer does not hide the deadline.
    fn read(&mut self) {
        let mut buffer = [0_u8; 16 << 10];
        for _ in 0..64 {
            let Some(pipe) = &self.pipe else { return };
            match rustix::io::read(pipe.as_fd(), &mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(length) => self.keep(buffer.get(..length).unwrap_or_default()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => self.pipe = None,
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.most.saturating_sub(self.kept.len());
        self.overflowed |= bytes.len() > room;
        self.kept
            .extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    fn text(self) -> String {
        String::from_utf8_lossy(&self.kept).into_owned()
    }
}

fn nonblocking(pipe: Option<impl Into<OwnedFd>>) -> Result<Option<OwnedFd>, RunError> {
    let pipe = pipe.map(Into::into);
    if let Some(pipe) = &pipe {
        rustix::io::ioctl_fionbio(pipe, true).map_err(lost)?;
    }
    Ok(pipe)
}

fn lost(error: impl ToString) -> RunError {
    RunError::Lost(error.to_string())
}
