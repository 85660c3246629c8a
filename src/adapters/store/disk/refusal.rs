//! Why a store can't be used, in one line each: the file, the fault, the way out.
//!
//! Owns those sentences, the check of the file's kind and rights, and the guard that no panic passes (invariant 8).

use std::fmt;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::{FORMAT, StoreError};

const MOVE_AWAY: &str = "stop posternd, move the file away and start again; knocks made in the last window could then be replayed, \
                         so wait two windows (1 minute at 30s) before starting";

/// What went wrong inside.
pub(super) enum Trouble {
    /// redb or the disk said no.
    Redb(Box<redb::Error>),
    /// The file was written by another version.
    Format(u64),
    /// A number that every store has is not there.
    Missing(&'static str),
}

impl<E: Into<redb::Error>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Redb(Box::new(error.into()))
    }
}

/// Runs `work`, which owns all that it changes, and turns its trouble into a sentence.
///
/// redb promises errors for damaged files only where it has checked every page, and its debug builds stop at
/// assertions that a damaged file can reach. A panic here would take the engine down without a word of what to do.
pub(super) fn guarded<T>(
    path: &Path,
    work: impl FnOnce() -> Result<T, Trouble>,
) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(trouble)) => Err(explain(path, trouble)),
        Err(_) => Err(damaged(path, "reading it made the database library stop")),
    }
}

fn explain(path: &Path, trouble: Trouble) -> StoreError {
    match trouble {
        Trouble::Format(found) => {
            let fault = format_args!("it has format {found} and this posternd knows only {FORMAT}");
            line(
                path,
                fault,
                format_args!("start the posternd that wrote it, or {MOVE_AWAY}"),
            )
        }
        Trouble::Missing(name) => damaged(path, format_args!("it holds no \"{name}\"")),
        Trouble::Redb(error) => match *error {
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => line(
                path,
                "another process has it open",
                "stop the other posternd, or give each gate a state_dir of its own",
            ),
            redb::Error::Io(error)
                if !matches!(
                    error.kind(),
                    ErrorKind::InvalidData | ErrorKind::UnexpectedEof
                ) =>
            {
                denied(path, &error)
            }
            error => damaged(path, error),
        },
    }
}

fn damaged(path: &Path, fault: impl fmt::Display) -> StoreError {
    line(
        path,
        format_args!("the replay store is damaged: {fault}"),
        MOVE_AWAY,
    )
}

/// The system does not let it be read or written.
pub(super) fn denied(path: &Path, error: &io::Error) -> StoreError {
    line(
        path,
        error,
        "see that the disk has room and is writable and that folder and file belong to the engine's user (run_as), then start again",
    )
}

pub(super) fn not_made(path: &Path, error: &io::Error) -> StoreError {
    line(
        path,
        format_args!("it can't be made: {error}"),
        "see that the folder belongs to the engine's user (run_as) and the disk has room",
    )
}

pub(super) fn no_folder(dir: &Path) -> StoreError {
    line(
        dir,
        "there is no such folder",
        "make it and give it to the engine's user (run_as), or set state_dir in posternd.toml",
    )
}

/// A plain file, ours alone: whoever else can write it can make the gate forget a knock.
pub(super) fn check_file(path: &Path) -> Result<(), StoreError> {
    let found = std::fs::symlink_metadata(path).map_err(|error| denied(path, &error))?;
    if !found.is_file() {
        return Err(line(path, "it is not a plain file", MOVE_AWAY));
    }
    let own = rustix::process::geteuid().as_raw();
    if found.uid() != own {
        let fault = format!(
            "it belongs to user {} and the engine runs as user {own}",
            found.uid()
        );
        return Err(line(
            path,
            fault,
            format_args!("chown {own} {}", path.display()),
        ));
    }
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(line(
            path,
            format_args!("others may use it (mode {mode:04o})"),
            format_args!("chmod 600 {}", path.display()),
        ));
    }
    Ok(())
}

fn line(path: &Path, fault: impl fmt::Display, way_out: impl fmt::Display) -> StoreError {
    StoreError(format!("{}: {fault}; {way_out}", path.display()).replace(['\n', '\r'], " "))
}
