//! Used sequences in a redb file of their own, `runs.redb`. They never age, so `marks.redb` stays small without them.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use postern_proto::Mark;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use super::create::create_with;
use super::faults::{check_file, guarded};
use super::format::builder;
use super::open::once_not_busy;
use crate::adapters::store::{StoreError, StoreFault};
use crate::model::mark::RunRecord;
use crate::model::time::Timestamp;

pub(super) const FILE: &str = "runs.redb";
pub(super) const DRAFT: &str = "runs.redb.new";

/// (user, mark) to the time of use in ms.
const RUNS: TableDefinition<'_, (&str, &[u8; 16]), u64> = TableDefinition::new("used sequences");

#[derive(Debug)]
pub(super) struct Runs {
    dir: PathBuf,
    path: PathBuf,
    /// `None` before the first use, and after a failure.
    db: Option<Database>,
    /// Whether the file was there before. Then it is never made anew.
    exists: bool,
}

impl Runs {
    /// Opens the file if it is there.
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        let exists = match std::fs::symlink_metadata(&path) {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => {
                let fault = StoreFault::System(error.to_string());
                return Err(StoreError::new(&path, fault));
            }
        };
        let db = exists.then(|| open_file(&path)).transpose()?;
        Ok(Self {
            dir: dir.to_owned(),
            path,
            db,
            exists,
        })
    }

    pub(super) fn load(&mut self) -> Result<Vec<RunRecord>, StoreError> {
        if self.exists {
            self.with(read)
        } else {
            Ok(Vec::new())
        }
    }

    pub(super) fn write(&mut self, runs: &[RunRecord]) -> Result<(), StoreError> {
        if runs.is_empty() {
            return Ok(());
        }
        if !self.exists {
            create_with(&self.dir, &self.path, DRAFT, |db| add(db, &[]))?;
            self.exists = true;
        }
        self.with(|db| {
            add(db, runs)?;
            // A second commit, so that damage to the newest part of the file loses nothing.
            add(db, &[])
        })
    }

    #[cfg(test)]
    pub(super) fn close(&mut self) {
        self.db = None;
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

fn open_file(path: &Path) -> Result<Database, StoreError> {
    check_file(path)?;
    guarded(path, || {
        let db = once_not_busy(|| builder().set_check_integrity_on_open(true).open(path))?;
        db.begin_read()?.open_table(RUNS)?;
        Ok(db)
    })
}

fn add(db: &Database, runs: &[RunRecord]) -> Result<(), StoreFault> {
    let mut write = db.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    {
        let mut table = write.open_table(RUNS)?;
        for RunRecord { user, mark, used } in runs {
            table.insert((user.as_str(), &mark.0), used.as_millis())?;
        }
    }
    Ok(write.commit()?)
}

fn read(db: &Database) -> Result<Vec<RunRecord>, StoreFault> {
    let table = db.begin_read()?.open_table(RUNS)?;
    let mut runs = Vec::new();
    for row in table.iter()? {
        let (key, used) = row?;
        let (user, mark) = key.value();
        runs.push(RunRecord {
            user: user.to_owned(),
            mark: Mark(*mark),
            used: Timestamp::from_millis(used.value()),
        });
    }
    Ok(runs)
}
