//! The tables of the file, and the transactions that read and write them.

use redb::{
    Builder, Database, Durability, ReadableDatabase, ReadableTable, Table, TableDefinition,
    WriteTransaction,
};

use postern_proto::Mark;

use crate::adapters::store::StoreFault;
use crate::model::mark::{MarkRecord, StoredMarks, StoredTimes};
use crate::model::time::Timestamp;

pub(super) const FORMAT: u64 = 1;

/// (timestamp in ms, mark) to the time of admission in ms. The order of time puts marks before the horizon first.
pub(super) const MARKS: TableDefinition<(u64, &[u8; 16]), u64> = TableDefinition::new("marks");
pub(super) const NUMBERS: TableDefinition<&str, u64> = TableDefinition::new("numbers");
pub(super) const NAME_FORMAT: &str = "format";
const NAME_FLOOR: &str = "floor in ms";
const NAME_HORIZON: &str = "horizon in ms";
const NAME_COMMITS: &str = "commits";

/// One commit removes at most this many marks, and four for each that it adds. So the store catches up, and no commit
/// walks the whole table.
pub(super) const REMOVE_MAX: usize = 256;

/// Marks are few and small; redb's own choice is a gibibyte.
const CACHE_BYTES: usize = 8 << 20;

pub(super) fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

pub(super) fn write_empty(db: &Database) -> Result<(), StoreFault> {
    let write = begin(db)?;
    {
        let mut numbers: Table<'_, &str, u64> = write.open_table(NUMBERS)?;
        numbers.insert(NAME_FORMAT, FORMAT)?;
        for name in [NAME_FLOOR, NAME_HORIZON, NAME_COMMITS] {
            numbers.insert(name, 0)?;
        }
        write.open_table(MARKS)?;
    }
    Ok(write.commit()?)
}

pub(super) fn read_all(db: &Database) -> Result<StoredMarks, StoreFault> {
    let read = db.begin_read()?;
    let times = read_times(&read.open_table(NUMBERS)?)?;
    let mut marks = Vec::new();
    let table = read.open_table(MARKS)?;
    for row in table.range((times.horizon.as_millis(), &[0; 16])..)? {
        let (key, admitted) = row?;
        let (timestamp, mark) = key.value();
        marks.push(MarkRecord {
            mark: Mark(*mark),
            timestamp: Timestamp::from_millis(timestamp),
            admitted: Timestamp::from_millis(admitted.value()),
        });
    }
    Ok(StoredMarks { times, marks })
}

pub(super) fn write_marks(
    db: &Database,
    marks: &[MarkRecord],
    times: StoredTimes,
) -> Result<(), StoreFault> {
    let write = begin(db)?;
    {
        let mut numbers = write.open_table(NUMBERS)?;
        let kept = read_times(&numbers)?;
        let horizon = times.horizon.max(kept.horizon).as_millis();
        numbers.insert(NAME_HORIZON, horizon)?;
        numbers.insert(NAME_FLOOR, times.floor.max(kept.floor).as_millis())?;

        let mut table = write.open_table(MARKS)?;
        for record in marks {
            let timestamp = record.timestamp.as_millis();
            if timestamp >= horizon {
                table.insert((timestamp, &record.mark.0), record.admitted.as_millis())?;
            }
        }
        let at_most = REMOVE_MAX.saturating_add(marks.len().saturating_mul(4));
        let mut old = table.extract_from_if(..(horizon, &[0; 16]), |_, _| true)?;
        old.by_ref()
            .take(at_most)
            .try_for_each(|removed| removed.map(drop))?;
    }
    Ok(write.commit()?)
}

/// Writes a second commit that adds nothing, so that both commit slots of redb hold the marks.
///
/// If the newer slot is damaged, or one bit of its header that no checksum covers, redb silently uses the older slot. The
/// last marks would then be lost. A power cut does no such damage, so no knock waits for this second fsync. redb's two-phase
/// commit costs as much and does not cover that bit.
pub(super) fn write_again(db: &Database) -> Result<(), StoreFault> {
    let write = begin(db)?;
    {
        let mut numbers = write.open_table(NUMBERS)?;
        let commits = number(&numbers, NAME_COMMITS)?;
        numbers.insert(NAME_COMMITS, commits.wrapping_add(1))?;
    }
    Ok(write.commit()?)
}

fn begin(db: &Database) -> Result<WriteTransaction, StoreFault> {
    let mut write = db.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    Ok(write)
}

fn read_times(numbers: &impl ReadableTable<&'static str, u64>) -> Result<StoredTimes, StoreFault> {
    let floor = Timestamp::from_millis(number(numbers, NAME_FLOOR)?);
    let horizon = Timestamp::from_millis(number(numbers, NAME_HORIZON)?);
    Ok(StoredTimes { floor, horizon })
}

pub(super) fn number(
    numbers: &impl ReadableTable<&'static str, u64>,
    name: &'static str,
) -> Result<u64, StoreFault> {
    let missing = || StoreFault::Damaged(format!("it has no \"{name}\""));
    Ok(numbers.get(name)?.ok_or_else(missing)?.value())
}
