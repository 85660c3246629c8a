//! The store on disk: opens the file, checks it, and opens it again after a failure.
//!
//! It never starts empty if there was a file: any problem with the file is an error (invariant 3).

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use redb::{Database, ReadOnlyDatabase, ReadableDatabase};

use super::create::create;
use super::faults::{check_file, guarded};
use super::format::{self, FORMAT, MARKS, NAME_FORMAT, NUMBERS, REFUSED, USERS};
use super::open::once_not_busy;
use super::runs::Runs;
use crate::adapters::store::{ReplayStore, StoreError, StoreFault};
use crate::model::mark::{StoredMarks, StoredTimes};
use crate::model::time::Timestamp;

/// The file's name in the state folder.
pub const FILE: &str = "marks.redb";

/// The store that survives the engine.
#[derive(Debug)]
pub struct DiskStore {
    pub(super) path: PathBuf,
    /// `None` after a failure: redb requires to open the file again, which also checks it again.
    pub(super) db: Option<Database>,
    /// Used sequences; the file is created with the first one.
    pub(super) runs: Runs,
}

impl DiskStore {
    /// Opens `marks.redb` in `dir`, or creates it if there is none yet. The folder itself must exist.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        match std::fs::symlink_metadata(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => create(dir, &path)?,
            Err(error) => {
                let fault = StoreFault::System(error.to_string());
                return Err(StoreError::new(&path, fault));
            }
        }
        let db = open_file(&path)?;
        let runs = Runs::open(dir)?;
        let db = Some(db);
        Ok(Self { path, db, runs })
    }

    fn with<T>(
        &mut self,
        work: impl FnOnce(&Database) -> Result<T, StoreFault>,
    ) -> Result<T, StoreError> {
        let db = match self.db.take() {
            Some(db) => db,
            None => open_file(&self.path)?,
        };
        let (db, done) = guarded(&self.path, || work(&db).map(|done| (db, done)))?;
        self.db = Some(db);
        Ok(done)
    }
}

impl DiskStore {
    /// Sets clock floor and horizons to this time, also back. Marks of later times stay. Returns the times before.
    pub fn reset_clock(&mut self, now: Timestamp) -> Result<StoredTimes, StoreError> {
        self.with(|db| format::reset_clock(db, now))
    }
}

/// The times of a store that no engine has open. Changes nothing.
pub fn read_times(dir: &Path) -> Result<StoredTimes, StoreError> {
    let path = dir.join(FILE);
    guarded(&path, || {
        let db = ReadOnlyDatabase::open(&path)?;
        format::read_times(&db.begin_read()?.open_table(NUMBERS)?)
    })
}

impl ReplayStore for DiskStore {
    fn load(&mut self) -> Result<StoredMarks, StoreError> {
        let runs = self.runs.load()?;
        let marks = self.with(format::read_all)?;
        Ok(StoredMarks { runs, ..marks })
    }

    fn write(&mut self, change: &StoredMarks) -> Result<(), StoreError> {
        // First: nothing opens before both are durable, and a run without its mark is refused all the same.
        self.runs.write(&change.runs)?;
        self.with(|db| format::write(db, change))
    }

    fn settle(&mut self) -> Result<(), StoreError> {
        self.with(format::write_again)
    }
}

/// Opens an existing file. If the file vanished under a running engine, that is a fault, and no new file is created.
fn open_file(path: &Path) -> Result<Database, StoreError> {
    check_file(path)?;
    guarded(path, || {
        // Without the check redb trusts a file that was closed properly, and a flipped byte stays unnoticed.
        let db = once_not_busy(|| {
            format::builder()
                .set_check_integrity_on_open(true)
                .open(path)
        })?;
        let read = db.begin_read()?;
        let (found, known) = (
            format::number(&read.open_table(NUMBERS)?, NAME_FORMAT)?,
            FORMAT,
        );
        match found {
            // The file of an earlier release.
            1 => format::upgrade(&db)?,
            _ if found != known => return Err(StoreFault::Format { found, known }),
            _ => {}
        }
        let read = db.begin_read()?;
        read.open_table(MARKS)?;
        read.open_table(REFUSED)?;
        read.open_table(USERS)?;
        Ok(db)
    })
}
