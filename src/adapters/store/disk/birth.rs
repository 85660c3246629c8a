//! The first start: an empty store under its own name, whole or not at all.
//!
//! It is made beside and moved into place, so that a crash in the middle leaves a draft and never half a `marks.redb`.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::refusal::{self, guarded};
use super::{MARKS, NUMBERS, StoreError, begin, builder, write_again, write_first_numbers};

/// Makes an empty store at `path`, which is in `dir`.
pub(super) fn first_start(dir: &Path, path: &Path) -> Result<(), StoreError> {
    if !dir.is_dir() {
        return Err(refusal::no_folder(dir));
    }
    let draft = path.with_extension("redb.new");
    make_file(&draft).map_err(|error| refusal::not_made(&draft, &error))?;
    guarded(&draft, || {
        let db = builder().create(&draft).map_err(redb::Error::from)?;
        let write = begin(&db)?;
        write_first_numbers(&mut write.open_table(NUMBERS)?)?;
        write.open_table(MARKS)?;
        write.commit()?;
        write_again(&db)?;
        Ok(db.close().map_err(redb::Error::from)?)
    })?;
    // Another posternd may have been quicker: its file is never written over.
    renameat_with(CWD, &draft, CWD, path, RenameFlags::NOREPLACE)
        .map_err(io::Error::from)
        .and_then(|()| make_name_durable(dir))
        .map_err(|error| refusal::not_made(path, &error))
}

/// redb would make it with a mode that lets others read.
#[expect(
    clippy::disallowed_methods,
    reason = "redb opens its file itself; only its mode is set here"
)]
fn make_file(draft: &Path) -> io::Result<()> {
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
fn make_name_durable(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
