//! Hits of sequences from the firewall's log lines: the kernel's log, the journal's output, or a file.
//!
//! The monitor opens the source and passes the descriptor. Reading needs no privilege: its system calls are poll, read, lseek,
//! statx and nanosleep.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::line_counters::LineCounters;
use crate::core::log_line::{Format, LINE_MAX, LineRead, Lines, kmsg_number, read};
use crate::core::sequence::Hit;
use crate::model::settings::LogSource;

mod file;

use file::LogFile;
pub use file::NextFile;

const WAIT: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};
/// How long a line of a file may wait.
const FILE_PAUSE: Duration = Duration::from_millis(100);
const ERROR_PAUSE: Duration = Duration::from_millis(100);
/// Errors in a row after which the capture stops.
const FAILURES_MAX: u32 = 50;

/// Where the lines come from.
#[derive(Debug)]
enum Source {
    Kmsg {
        records: OwnedFd,
        /// The number that the next record has if none is lost.
        next: Option<u64>,
    },
    Journal(OwnedFd),
    File(LogFile),
}

/// Reads hits from log lines with a prefix.
#[derive(Debug)]
pub struct LogCapture {
    source: Source,
    prefix: String,
    lines: Lines,
    buffer: Vec<u8>,
    counters: Arc<LineCounters>,
    /// Nothing was left to read.
    is_drained: bool,
    failures: u32,
}

impl LogCapture {
    /// Reads what the monitor opened, and after a rotation each file that is in `next_file`. The descriptors of kmsg and of the
    /// journal's pipe do not block.
    pub fn new(
        source: &LogSource,
        descriptor: OwnedFd,
        next_file: NextFile,
        prefix: String,
    ) -> Self {
        let source = match source {
            LogSource::Kmsg => Source::Kmsg {
                records: descriptor,
                next: None,
            },
            LogSource::Journal => Source::Journal(descriptor),
            LogSource::File(_) => Source::File(LogFile::new(descriptor, next_file)),
        };
        Self {
            source,
            prefix,
            lines: Lines::default(),
            buffer: vec![0; LINE_MAX],
            counters: Arc::default(),
            is_drained: false,
            failures: 0,
        }
    }

    /// Waits up to about a second for the next hit.
    pub fn next_hit(&mut self) -> io::Result<Option<Hit>> {
        if let Some(hit) = self.line(self.format()) {
            return Ok(Some(hit));
        }
        if std::mem::take(&mut self.is_drained)
            && let Err(error) = self.wait()
        {
            return self.failed(error);
        }
        match self.fill() {
            Ok(hit) => {
                self.failures = 0;
                Ok(hit)
            }
            Err(error) => self.failed(error),
        }
    }

    /// Whether the next call may have to wait. While it is false, hits may be passed on together.
    pub fn waits(&self) -> bool {
        self.is_drained
    }

    /// What it counts.
    pub fn lines(&self) -> Arc<LineCounters> {
        Arc::clone(&self.counters)
    }

    /// Judges one line.
    fn caught(counters: &LineCounters, format: Format, line: &[u8], prefix: &str) -> Option<Hit> {
        match read(format, line, prefix) {
            LineRead::Hit(hit) => Some(hit),
            LineRead::Malformed => {
                counters.malformed.fetch_add(1, Ordering::Relaxed);
                None
            }
            LineRead::Other => None,
        }
    }

    fn line(&mut self, format: Format) -> Option<Hit> {
        while let Some(line) = self.lines.next_line() {
            let caught = Self::caught(&self.counters, format, line, &self.prefix);
            if caught.is_some() {
                return caught;
            }
        }
        let too_long = self.lines.take_too_long();
        self.counters
            .malformed
            .fetch_add(too_long, Ordering::Relaxed);
        None
    }

    fn wait(&self) -> io::Result<()> {
        let socket = match &self.source {
            Source::Kmsg { records: from, .. } | Source::Journal(from) => from,
            Source::File(_) => {
                sleep(FILE_PAUSE);
                return Ok(());
            }
        };
        match poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&WAIT)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads once, and judges a record at once. `None`: there may be whole lines now.
    fn fill(&mut self) -> io::Result<Option<Hit>> {
        match &mut self.source {
            Source::Kmsg { records, next } => {
                let length = rustix::io::read(&*records, &mut self.buffer)?;
                let record = self.buffer.get(..length).unwrap_or_default();
                if let Some(number) = kmsg_number(record) {
                    let gap = next.map_or(0, |expected| number.saturating_sub(expected));
                    self.counters.lost.fetch_add(gap, Ordering::Relaxed);
                    *next = Some(number.saturating_add(1));
                }
                let caught = Self::caught(&self.counters, Format::Kmsg, record, &self.prefix);
                return Ok(caught);
            }
            Source::Journal(pipe) => {
                let length = rustix::io::read(&*pipe, &mut self.buffer)?;
                self.lines
                    .push(self.buffer.get(..length).unwrap_or_default());
                if length == 0 {
                    // The monitor keeps the other end open, so it has ended.
                    return Err(ErrorKind::UnexpectedEof.into());
                }
            }
            Source::File(file) => {
                let (length, is_other) = file.read(&mut self.buffer)?;
                if is_other {
                    self.lines.clear();
                }
                self.lines
                    .push(self.buffer.get(..length).unwrap_or_default());
                self.is_drained = length == 0;
            }
        }
        Ok(None)
    }

    fn failed(&mut self, error: io::Error) -> io::Result<Option<Hit>> {
        match Errno::from_io_error(&error) {
            Some(Errno::AGAIN) => self.is_drained = true,
            Some(Errno::INTR) => {}
            // Records were overwritten. The next one's number says how many.
            Some(Errno::PIPE) => {}
            _ => {
                self.failures = self.failures.saturating_add(1);
                if self.failures >= FAILURES_MAX {
                    return Err(error);
                }
                sleep(ERROR_PAUSE);
            }
        }
        Ok(None)
    }

    fn format(&self) -> Format {
        match self.source {
            Source::Kmsg { .. } => Format::Kmsg,
            Source::Journal(_) => Format::Journal,
            Source::File(_) => Format::File,
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test's own files")]
mod tests;
