//! The file of a log: who may use it, how it is opened, locked and made.
//!
//! It never starts empty if there was a file: any problem with the file is an error (invariant 3).
#![expect(
    clippy::disallowed_methods,
    reason = "a log is read and written in place, under a lock"
)]

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};

use super::content::Content;
use super::log::{Disk, Log};
use super::record::CHANGE_MAX;
use crate::adapters::random;
use crate::adapters::store::{StoreError, StoreFault};

/// The least room: a mebibyte for each half.
const RECORDS_MIN: usize = 8192;

/// A killed engine has the file open until the kernel has finished its writes: wait 10 s.
const BUSY_TRIES: u32 = 200;
const BUSY_PAUSE: Duration = Duration::from_millis(50);

impl Disk for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(out, at)
    }

    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Opens a log to write it: with the content that it has, in a half of its own.
pub(super) fn open(path: &Path) -> Result<(Log<File>, Content), StoreError> {
    let failed = |fault| StoreError::new(path, fault);
    let file = locked(path)?;
    let (log, content) = Log::open(file).map_err(failed)?;
    Ok((renewed(path, log, &content, 0)?, content))
}

/// Reads a log that another process may be using.
pub(super) fn read(path: &Path) -> Result<Content, StoreError> {
    let failed = |fault| StoreError::new(path, fault);
    let file = options().open(path).map_err(system).map_err(failed)?;
    let (_, content) = Log::open(file).map_err(failed)?;
    Ok(content)
}

/// Moves the log to its other half, or to a larger file. Then it has room for `more` records. On a full disk it is used to its end.
pub(super) fn renewed(
    path: &Path,
    mut log: Log<File>,
    content: &Content,
    more: usize,
) -> Result<Log<File>, StoreError> {
    let failed = |fault| StoreError::new(path, fault);
    let records = content.entries().len().max(1).saturating_add(more);
    if !log.can_hold_twice(records) {
        match draft(path, records, content) {
            Ok(draft) => return put_in_place(path, draft, RenameFlags::empty()),
            Err(error) if !log.can_hold(records) => return Err(error),
            // Only the draft failed: nothing was replaced.
            Err(_) => {}
        }
    }
    let seal = random::bytes().map_err(system).map_err(failed)?;
    log.start_half(seal, content).map_err(failed)?;
    Ok(log)
}

/// Makes the file at the first start. Another process may have been faster: its file is never overwritten.
pub(super) fn create(path: &Path, content: &Content) -> Result<Log<File>, StoreError> {
    match path.parent() {
        Some(dir) if dir.is_dir() => {}
        dir => return Err(StoreError::new(dir.unwrap_or(path), StoreFault::NoFolder)),
    }
    let draft = draft(path, content.entries().len(), content)?;
    put_in_place(path, draft, RenameFlags::NOREPLACE)
}

/// A file under another name, so that a crash never leaves half a log.
fn draft(path: &Path, records: usize, content: &Content) -> Result<Log<File>, StoreError> {
    let failed =
        |error: io::Error| StoreError::new(path, StoreFault::NotCreated(error.to_string()));
    let name = draft_name(path);
    match std::fs::remove_file(&name) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let file = options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&name)
        .map_err(failed)?;
    file.lock().map_err(failed)?;
    let capacity = records.saturating_mul(4).max(RECORDS_MIN);
    let capacity = u32::try_from(capacity)
        .unwrap_or(CHANGE_MAX)
        .min(CHANGE_MAX);
    let seal = random::bytes().map_err(failed)?;
    Log::create(file, capacity, seal, content).map_err(|fault| {
        // It may have taken all that the disk had left.
        let _ = std::fs::remove_file(&name);
        match fault {
            StoreFault::System(why) => StoreError::new(path, StoreFault::NotCreated(why)),
            fault => StoreError::new(path, fault),
        }
    })
}

fn put_in_place(path: &Path, log: Log<File>, flags: RenameFlags) -> Result<Log<File>, StoreError> {
    let failed =
        |error: io::Error| StoreError::new(path, StoreFault::NotCreated(error.to_string()));
    renameat_with(CWD, draft_name(path), CWD, path, flags).map_err(|error| failed(error.into()))?;
    let dir = path.parent().unwrap_or(path);
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(failed)?;
    Ok(log)
}

fn draft_name(path: &Path) -> std::path::PathBuf {
    path.with_added_extension("new")
}

fn options() -> OpenOptions {
    let mut options = File::options();
    options
        .read(true)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}

fn system(error: io::Error) -> StoreFault {
    error.into()
}

impl From<io::Error> for StoreFault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::UnexpectedEof => Self::Damaged("its end is missing".to_owned()),
            _ => Self::System(error.to_string()),
        }
    }
}

/// Opens the file once no other process has it. The kernel frees the lock when a process ends.
fn locked(path: &Path) -> Result<File, StoreError> {
    let failed = |fault| StoreError::new(path, fault);
    for _ in 0..BUSY_TRIES {
        check(path)?;
        let file = options()
            .write(true)
            .open(path)
            .map_err(system)
            .map_err(failed)?;
        let same = || -> io::Result<bool> { Ok(file.metadata()?.ino() == path.metadata()?.ino()) };
        match file.try_lock() {
            // The other process may have put a larger file in its place.
            Ok(()) if same().map_err(system).map_err(failed)? => return Ok(file),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => sleep(BUSY_PAUSE),
            Err(TryLockError::Error(error)) => return Err(failed(error.into())),
        }
    }
    Err(failed(StoreFault::Busy))
}

pub(super) fn exists(path: &Path) -> Result<bool, StoreError> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::new(path, StoreFault::System(error.to_string()))),
    }
}

/// A plain file for the engine's user alone: others could make the gate forget a knock.
pub(super) fn check(path: &Path) -> Result<(), StoreError> {
    let refused = |fault| Err(StoreError::new(path, fault));
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) => return refused(StoreFault::System(error.to_string())),
    };
    if !found.is_file() {
        return refused(StoreFault::NotAFile);
    }
    let engine = rustix::process::geteuid().as_raw();
    if found.uid() != engine {
        let owner = found.uid();
        return refused(StoreFault::Owner { owner, engine });
    }
    match found.permissions().mode() & 0o777 {
        mode if mode & 0o077 != 0 => refused(StoreFault::Mode(mode)),
        _ => Ok(()),
    }
}
