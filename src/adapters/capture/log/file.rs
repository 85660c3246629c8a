//! A log file that is rotated: renamed and made anew, or copied and cut.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

/// The file that replaces the one that is read. Its owner puts it there, because an engine cannot open it.
pub type NextFile = Arc<Mutex<Option<OwnedFd>>>;

#[derive(Debug)]
pub(super) struct LogFile {
    file: File,
    next: NextFile,
    /// The next one has lines, so the daemon writes there. This one is read to its end first.
    is_last_read: bool,
}

impl LogFile {
    pub(super) fn new(file: OwnedFd, next: NextFile) -> Self {
        Self {
            file: file.into(),
            next,
            is_last_read: false,
        }
    }

    /// Reads what follows; 0 bytes if nothing does yet. Also whether a new file begins here.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<(usize, bool)> {
        let length = self.file.read(buffer)?;
        if length > 0 {
            return Ok((length, false));
        }
        let next = Arc::clone(&self.next);
        let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = next.take() {
            let waiting = File::from(waiting);
            let has_lines = waiting.metadata()?.len() > 0;
            if has_lines && self.is_last_read {
                self.file = waiting;
                self.is_last_read = false;
                return Ok((self.file.read(buffer)?, true));
            }
            self.is_last_read = has_lines;
            next.replace(waiting.into());
        }
        if self.file.metadata()?.len() < self.file.stream_position()? {
            // It was cut.
            self.file.seek(SeekFrom::Start(0))?;
            return Ok((self.file.read(buffer)?, true));
        }
        Ok((0, false))
    }
}
