//! Marks, floor and horizon in a redb file, `marks.redb` in the gate's state folder.
//!
//! Owns that file, its first making and its check at every opening. Never starts empty where a file was: whatever is
//! wrong with it refuses in one line (`refusal`). Judges no mark. PROTOCOL section 6, steps 7, 8 and 11; invariant 3.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use postern_proto::Mark;
use redb::{
    Builder, Database, Durability, ReadableDatabase, ReadableTable, Table, TableDefinition,
    WriteTransaction,
};

use super::{ReplayStore, StoreError};
use crate::model::mark::{Kept, MarkRecord, StoredTimes};
use crate::model::time::Timestamp;
use refusal::{Trouble, guarded};

mod birth;
mod refusal;

/// The file's name in the state folder.
pub const FILE: &str = "marks.redb";

/// What the tables below mean. Another number in the file is another posternd's.
const FORMAT: u64 = 1;

/// (timestamp in ms, mark) to the time of admission in ms. In order of time, so that what the horizon passes is its head.
const MARKS: TableDefinition<(u64, &[u8; 16]), u64> = TableDefinition::new("marks");
const NUMBERS: TableDefinition<&str, u64> = TableDefinition::new("numbers");
const NAME_FORMAT: &str = "format";
const NAME_FLOOR: &str = "floor in ms";
const NAME_HORIZON: &str = "horizon in ms";
const NAME_COMMITS: &str = "commits";

/// One commit forgets at most this many marks, and four for each that it adds: whatever was left behind is caught up
/// with, and no commit ever walks the whole table.
const FORGET_AT_MOST: usize = 256;
/// How long a file is waited for that another process has open: 10 s.
const HELD_TRIES: u32 = 200;
const HELD_PAUSE: Duration = Duration::from_millis(50);

/// Marks are few and small; redb's own choice would be a gibibyte.
const CACHE_BYTES: usize = 8 << 20;

/// The store that outlives the engine.
#[derive(Debug)]
pub struct DiskStore {
    path: PathBuf,
    /// None after a failure: redb wants a file whose commit failed to be opened again, which also checks it again.
    db: Option<Database>,
}

impl DiskStore {
    /// Opens `marks.redb` in `dir`, or makes it when there is none yet. The folder itself must be there.
    ///
    /// # Errors
    /// When the file can't be used or is not whole: file, fault and way out in one line.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        match std::fs::symlink_metadata(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => birth::first_start(dir, &path)?,
            Err(error) => return Err(refusal::denied(&path, &error)),
        }
        let db = open_file(&path)?;
        Ok(Self { path, db: Some(db) })
    }

    /// Runs `work` on the database, which closes unless all goes well.
    fn with<T>(
        &mut self,
        work: impl FnOnce(&Database) -> Result<T, Trouble>,
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

impl ReplayStore for DiskStore {
    fn load(&mut self) -> Result<Kept, StoreError> {
        self.with(read_all)
    }

    fn commit(&mut self, marks: &[MarkRecord], times: StoredTimes) -> Result<(), StoreError> {
        self.with(|db| write_marks(db, marks, times))
    }

    fn settle(&mut self) -> Result<(), StoreError> {
        self.with(write_again)
    }
}

/// Opens a file that is there, and never makes one: a file that vanished under a running engine is a fault.
fn open_file(path: &Path) -> Result<Database, StoreError> {
    refusal::check_file(path)?;
    guarded(path, || {
        // Without the check redb trusts a file that was closed in order, and a flipped byte in it would go unnoticed.
        let db = once_free(|| builder().set_check_integrity_on_open(true).open(path))?;
        let read = db.begin_read()?;
        match number(&read.open_table(NUMBERS)?, NAME_FORMAT)? {
            FORMAT => {}
            other => return Err(Trouble::Format(other)),
        }
        read.open_table(MARKS)?;
        Ok(db)
    })
}

/// An engine that was killed holds the file until the kernel has taken it apart, which waits for what it was writing.
fn once_free(
    open: impl Fn() -> Result<Database, redb::DatabaseError>,
) -> Result<Database, redb::DatabaseError> {
    for _ in 0..HELD_TRIES {
        match open() {
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => sleep(HELD_PAUSE),
            done => return done,
        }
    }
    open()
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn read_all(db: &Database) -> Result<Kept, Trouble> {
    let read = db.begin_read()?;
    let times = read_times(&read.open_table(NUMBERS)?)?;
    let mut marks = Vec::new();
    for row in read
        .open_table(MARKS)?
        .range((times.horizon.as_millis(), &[0; 16])..)?
    {
        let (key, admitted) = row?;
        let (timestamp, mark) = key.value();
        let (timestamp, admitted) = (
            Timestamp::from_millis(timestamp),
            Timestamp::from_millis(admitted.value()),
        );
        marks.push(MarkRecord {
            mark: Mark(*mark),
            timestamp,
            admitted,
        });
    }
    Ok(Kept { times, marks })
}

fn write_marks(db: &Database, marks: &[MarkRecord], times: StoredTimes) -> Result<(), Trouble> {
    let write = begin(db)?;
    {
        let mut numbers = write.open_table(NUMBERS)?;
        let kept = read_times(&numbers)?;
        let horizon = times.horizon.max(kept.horizon).as_millis();
        numbers.insert(NAME_HORIZON, horizon)?;
        numbers.insert(NAME_FLOOR, times.floor.max(kept.floor).as_millis())?;

        let mut table = write.open_table(MARKS)?;
        for record in marks
            .iter()
            .filter(|record| record.timestamp.as_millis() >= horizon)
        {
            table.insert(
                (record.timestamp.as_millis(), &record.mark.0),
                record.admitted.as_millis(),
            )?;
        }
        let at_most = FORGET_AT_MOST.saturating_add(marks.len().saturating_mul(4));
        for forgotten in table
            .extract_from_if(..(horizon, &[0; 16]), |_, _| true)?
            .take(at_most)
        {
            forgotten?;
        }
    }
    Ok(write.commit()?)
}

/// A second commit that adds nothing, so that both of redb's two commit slots hold the marks.
///
/// redb goes back to the older slot when the newer one is damaged (or when one bit of its header, which no checksum
/// covers, says so), and would open without the last marks and without a word. A power cut does no such damage: the marks are
/// on the disk after the first commit, and no knock has to wait for this second fsync. redb's two-phase commit, which
/// costs as much, does not cover that bit.
fn write_again(db: &Database) -> Result<(), Trouble> {
    let write = begin(db)?;
    {
        let mut numbers = write.open_table(NUMBERS)?;
        let commits = number(&numbers, NAME_COMMITS)?;
        numbers.insert(NAME_COMMITS, commits.wrapping_add(1))?;
    }
    Ok(write.commit()?)
}

fn begin(db: &Database) -> Result<WriteTransaction, Trouble> {
    let mut write = db.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    Ok(write)
}

fn read_times(numbers: &impl ReadableTable<&'static str, u64>) -> Result<StoredTimes, Trouble> {
    let floor = Timestamp::from_millis(number(numbers, NAME_FLOOR)?);
    let horizon = Timestamp::from_millis(number(numbers, NAME_HORIZON)?);
    Ok(StoredTimes { floor, horizon })
}

fn number(
    numbers: &impl ReadableTable<&'static str, u64>,
    name: &'static str,
) -> Result<u64, Trouble> {
    Ok(numbers.get(name)?.ok_or(Trouble::Missing(name))?.value())
}

/// The numbers of a store that nothing was ever put into.
fn write_first_numbers(numbers: &mut Table<'_, &'static str, u64>) -> Result<(), Trouble> {
    for (name, value) in [
        (NAME_FORMAT, FORMAT),
        (NAME_FLOOR, 0),
        (NAME_HORIZON, 0),
        (NAME_COMMITS, 0),
    ] {
        numbers.insert(name, value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
