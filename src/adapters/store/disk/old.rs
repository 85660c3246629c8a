//! Reads the redb files of earlier releases, `marks.redb` and `runs.redb`, once: their content becomes the first of a log.

use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use postern_proto::Mark;
use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError,
};

use super::content::Content;
use super::file::{self, exists};
use super::record::Entry;
use crate::adapters::store::{StoreError, StoreFault};
use crate::model::mark::{
    MarkRecord, RefusedRecord, RunRecord, StoredTimes, UsedCodes, UserRecord,
};
use crate::model::time::Timestamp;

pub(super) const MARKS_FILE: &str = "marks.redb";
pub(super) const RUNS_FILE: &str = "runs.redb";
/// The formats that are read. Format 1 had no refused marks and no users.
const FORMATS: [u64; 2] = [1, 2];

type MarkKey = (u64, &'static [u8; 16]);
type RefusedKey = (&'static str, u64, &'static [u8; 16]);
type RunKey = (&'static str, &'static [u8; 16]);

const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
const MARKS: TableDefinition<'_, MarkKey, u64> = TableDefinition::new("marks");
const REFUSED: TableDefinition<'_, RefusedKey, u64> = TableDefinition::new("refused marks");
const USERS: TableDefinition<'_, &str, (u64, Option<u64>, bool, bool, u64)> =
    TableDefinition::new("users");
const RUNS: TableDefinition<'_, RunKey, u64> = TableDefinition::new("used sequences");

/// Marks and times of `marks.redb`, if it is there.
pub(super) fn marks(dir: &Path) -> Result<Option<Content>, StoreError> {
    read(&dir.join(MARKS_FILE), marks_of)
}

/// Used sequences of `runs.redb`, if it is there.
pub(super) fn runs(dir: &Path) -> Result<Option<Content>, StoreError> {
    read(&dir.join(RUNS_FILE), runs_of)
}

/// Removes the old files, which must never be believed again.
pub(super) fn remove(dir: &Path) -> Result<(), StoreError> {
    for name in [MARKS_FILE, RUNS_FILE] {
        let path = dir.join(name);
        if exists(&path)? {
            let failed = |error: io::Error| StoreError::new(&path, error.into());
            std::fs::remove_file(&path).map_err(failed)?;
        }
    }
    Ok(())
}

/// redb promises errors for damaged files only if it has checked every page, and a damaged file can reach assertions of its debug
/// builds. A panic would end the engine without a cure in the log (invariant 8).
fn read(
    path: &Path,
    content: impl FnOnce(&ReadTransaction) -> Result<Content, Fault>,
) -> Result<Option<Content>, StoreError> {
    if !exists(path)? {
        return Ok(None);
    }
    file::check(path)?;
    let work = || {
        let db = Database::builder()
            .set_check_integrity_on_open(true)
            .open(path)?;
        content(&db.begin_read()?)
    };
    let stopped = "the database library failed while it read the file";
    let done = catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Fault(StoreFault::Damaged(stopped.to_owned()))));
    done.map(Some)
        .map_err(|Fault(fault)| StoreError::new(path, fault))
}

/// What redb says, as a fault of the store.
struct Fault(StoreFault);

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        let damage = [ErrorKind::InvalidData, ErrorKind::UnexpectedEof];
        Self(match error.into() {
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
                StoreFault::Busy
            }
            redb::Error::Io(error) if !damage.contains(&error.kind()) => {
                StoreFault::System(error.to_string())
            }
            error => StoreFault::Damaged(error.to_string()),
        })
    }
}

fn marks_of(read: &ReadTransaction) -> Result<Content, Fault> {
    let numbers = read.open_table(NUMBERS)?;
    let number = |name: &'static str| -> Result<u64, Fault> {
        let missing = || Fault(StoreFault::Damaged(format!("it has no \"{name}\"")));
        Ok(numbers.get(name)?.ok_or_else(missing)?.value())
    };
    let found = number("format")?;
    if !FORMATS.contains(&found) {
        let [_, known] = FORMATS;
        return Err(Fault(StoreFault::Format { found, known }));
    }
    let times = StoredTimes {
        floor: Timestamp::from_millis(number("floor in ms")?),
        horizon: Timestamp::from_millis(number("horizon in ms")?),
    };
    let mut entries = Vec::new();
    for row in read.open_table(MARKS)?.iter()? {
        let (key, admitted) = row?;
        let (timestamp, mark) = key.value();
        entries.push(Entry::Mark(record(timestamp, mark, admitted.value())));
    }
    match read.open_table(USERS) {
        Ok(table) => {
            for row in table.iter()? {
                let (user, value) = row?;
                let (horizon, step, v4, v6, clean) = value.value();
                let clean = Timestamp::from_millis(clean);
                entries.push(Entry::User(UserRecord {
                    user: user.value().to_owned(),
                    horizon: Timestamp::from_millis(horizon),
                    codes: UsedCodes {
                        step,
                        v4,
                        v6,
                        clean,
                    },
                }));
            }
        }
        Err(TableError::TableDoesNotExist(_)) if found == 1 => {}
        Err(error) => return Err(error.into()),
    }
    match read.open_table(REFUSED) {
        Ok(table) => {
            for row in table.iter()? {
                let (key, came) = row?;
                let (user, timestamp, mark) = key.value();
                entries.push(Entry::Refused(RefusedRecord {
                    user: user.to_owned(),
                    record: record(timestamp, mark, came.value()),
                }));
            }
        }
        Err(TableError::TableDoesNotExist(_)) if found == 1 => {}
        Err(error) => return Err(error.into()),
    }
    let mut content = Content::default();
    content.apply(times, entries);
    Ok(content)
}

fn runs_of(read: &ReadTransaction) -> Result<Content, Fault> {
    let mut entries = Vec::new();
    for row in read.open_table(RUNS)?.iter()? {
        let (key, used) = row?;
        let (user, mark) = key.value();
        entries.push(Entry::Run(RunRecord {
            user: user.to_owned(),
            mark: Mark(*mark),
            used: Timestamp::from_millis(used.value()),
        }));
    }
    let mut content = Content::default();
    content.apply(StoredTimes::default(), entries);
    Ok(content)
}

fn record(timestamp: u64, mark: &[u8; 16], admitted: u64) -> MarkRecord {
    MarkRecord {
        mark: Mark(*mark),
        timestamp: Timestamp::from_millis(timestamp),
        admitted: Timestamp::from_millis(admitted),
    }
}
