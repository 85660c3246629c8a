//! Checks the file's kind and rights, and turns errors and panics of redb into store errors (invariant 8).

use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::adapters::store::{StoreError, StoreFault};

/// Runs `work`, which owns everything that it changes.
///
/// redb promises errors for damaged files only if it has checked every page, and a damaged file can reach assertions of its
/// debug builds. A panic would end the engine without a cure in the log.
pub(super) fn guarded<T>(
    path: &Path,
    work: impl FnOnce() -> Result<T, StoreFault>,
) -> Result<T, StoreError> {
    let stopped =
        || StoreFault::Damaged("the database library failed while it read the file".to_owned());
    let done = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(stopped()));
    done.map_err(|fault| StoreError::new(path, fault))
}

impl<E: Into<redb::Error>> From<E> for StoreFault {
    fn from(error: E) -> Self {
        let damage = [ErrorKind::InvalidData, ErrorKind::UnexpectedEof];
        match error.into() {
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => Self::Busy,
            redb::Error::Io(error) if !damage.contains(&error.kind()) => {
                Self::System(error.to_string())
            }
            error => Self::Damaged(error.to_string()),
        }
    }
}

/// A plain file for the engine's user alone: others could make the gate forget a knock.
pub(super) fn check_file(path: &Path) -> Result<(), StoreError> {
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
