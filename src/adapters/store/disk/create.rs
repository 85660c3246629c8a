//! Creates an empty store at the first start.
//!
//! It is written under another name and then renamed, so that a crash leaves a draft and never half a `marks.redb`.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use redb::Database;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::faults::guarded;
use super::format::{builder, write_again, write_empty};
use crate::adapters::store::{StoreError, StoreFault};

pub(super) const DRAFT: &str = "marks.redb.new";

pub(super) fn create(dir: &Path, path: &Path) -> Result<(), StoreError> {
    create_with(dir, path, DRAFT, |db| {
        write_empty(db)?;
        write_again(db)
    })
}

/// Creates a file with what `fill` writes.
pub(super) fn create_with(
    dir: &Path,
    path: &Path,
    draft: &str,
    fill: impl FnOnce(&Database) -> Result<(), StoreFault>,
) -> Result<(), StoreError> {
    let failed =
        |error: io::Error| StoreError::new(path, StoreFault::NotCreated(error.to_string()));
    if !dir.is_dir() {
        return Err(StoreError::new(dir, StoreFault::NoFolder));
    }
    let draft = dir.join(draft);
    create_file(&draft).map_err(failed)?;
    guarded(&draft, || {
        let db = builder().create(&draft)?;
        fill(&db)?;
        Ok(db.close()?)
    })?;
    // Another posternd may have been faster; its file is never overwritten.
    renameat_with(CWD, &draft, CWD, path, RenameFlags::NOREPLACE)
        .map_err(io::Error::from)
        .and_then(|()| sync_folder(dir))
        .map_err(failed)
}

/// redb would create it with a mode that lets others read.
#[expect(
    clippy::disallowed_methods,
    reason = "redb opens its file itself; only its mode is set here"
)]
fn create_file(draft: &Path) -> io::Result<()> {
    match std::fs::remove_file(draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(draft)
        .map(drop)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a folder is opened for fsync alone, nothing of it is read"
)]
fn sync_folder(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
