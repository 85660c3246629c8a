//! The tables of the file, and the transactions that read and write them.

use redb::{
    Builder, Database, Durability, ReadableDatabase, ReadableTable, Table, TableDefinition,
    WriteTransaction,
};

use postern_proto::{CodeStep, Mark};

use crate::adapters::store::StoreFault;
use crate::model::mark::{
    MarkRecord, RefusedRecord, StoredMarks, StoredTimes, UsedCodes, UserRecord,
};
use crate::model::time::Timestamp;

pub(super) const FORMAT: u64 = 2;

/// (timestamp in ms, mark) to the time of admission in ms. The order of time puts marks before the horizon first.
pub(super) const MARKS: TableDefinition<(u64, &[u8; 16]), u64> = TableDefinition::new("marks");
/// (user, timestamp in ms, mark) to the time of refusal in ms.
pub(super) const REFUSED: TableDefinition<(&str, u64, &[u8; 16]), u64> =
    TableDefinition::new("refused marks");
/// User to horizon in ms, the step of the latest used code and whether it was used for IPv4 and IPv6, and when wrong codes are
/// forgotten in ms.
pub(super) const USERS: TableDefinition<&str, UserRow> = TableDefinition::new("users");
type UserRow = (u64, Option<u64>, bool, bool, u64);
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
        write.open_table(REFUSED)?;
        write.open_table(USERS)?;
    }
    Ok(write.commit()?)
}

/// Format 1 had no refused marks and no users.
pub(super) fn upgrade(db: &Database) -> Result<(), StoreFault> {
    let write = begin(db)?;
    write.open_table(NUMBERS)?.insert(NAME_FORMAT, FORMAT)?;
    write.open_table(REFUSED)?;
    write.open_table(USERS)?;
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
    let mut refused = Vec::new();
    let table = read.open_table(REFUSED)?;
    for row in table.iter()? {
        let (key, came) = row?;
        let (user, timestamp, mark) = key.value();
        if timestamp < times.horizon.as_millis() {
            continue;
        }
        refused.push(RefusedRecord {
            user: user.to_owned(),
            record: MarkRecord {
                mark: Mark(*mark),
                timestamp: Timestamp::from_millis(timestamp),
                admitted: Timestamp::from_millis(came.value()),
            },
        });
    }
    let mut users = Vec::new();
    for row in read.open_table(USERS)?.iter()? {
        let (user, value) = row?;
        let (horizon, step, v4, v6, clean) = value.value();
        users.push(UserRecord {
            user: user.value().to_owned(),
            horizon: Timestamp::from_millis(horizon),
            codes: UsedCodes {
                step,
                v4,
                v6,
                clean: Timestamp::from_millis(clean),
            },
        });
    }
    Ok(StoredMarks {
        times,
        marks,
        refused,
        users,
        // They are in a file of their own.
        runs: Vec::new(),
    })
}

pub(super) fn write(db: &Database, change: &StoredMarks) -> Result<(), StoreFault> {
    let (marks, times) = (&change.marks, change.times);
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
    write_refused(&mut write.open_table(REFUSED)?, change)?;
    write_users(&mut write.open_table(USERS)?, &change.users)?;
    Ok(write.commit()?)
}

/// Adds refused marks. Removes those of the same users that their horizon has passed: a user's rows stay as few as the gate's.
fn write_refused(
    table: &mut Table<'_, (&'static str, u64, &'static [u8; 16]), u64>,
    change: &StoredMarks,
) -> Result<(), StoreFault> {
    for RefusedRecord { user, record } in &change.refused {
        let key = (user.as_str(), record.timestamp.as_millis(), &record.mark.0);
        table.insert(key, record.admitted.as_millis())?;
    }
    let own = change.users.iter().map(|user| (&user.user, user.horizon));
    let others = change.refused.iter().map(|refused| &refused.user);
    let horizons = own.chain(others.map(|user| (user, change.times.horizon)));
    for (user, horizon) in horizons {
        let end = (user.as_str(), horizon.as_millis(), &[0; 16]);
        table.retain_in((user.as_str(), 0, &[0; 16])..end, |_, _| false)?;
    }
    Ok(())
}

fn write_users(
    table: &mut Table<'_, &'static str, UserRow>,
    users: &[UserRecord],
) -> Result<(), StoreFault> {
    for UserRecord {
        user,
        horizon,
        codes,
    } in users
    {
        let (horizon, clean) = (horizon.as_millis(), codes.clean.as_millis());
        let row = (horizon, codes.step, codes.v4, codes.v6, clean);
        table.insert(user.as_str(), row)?;
    }
    Ok(())
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

/// Sets clock floor and horizons to this time. Refused marks of later times stay, and so do those of admitted knocks.
pub(super) fn reset_clock(db: &Database, now: Timestamp) -> Result<StoredTimes, StoreFault> {
    let at = now.as_millis();
    let CodeStep(step) = CodeStep::of(at);
    let write = begin(db)?;
    let mut numbers = write.open_table(NUMBERS)?;
    let before = read_times(&numbers)?;
    numbers.insert(NAME_FLOOR, at)?;
    numbers.insert(NAME_HORIZON, at)?;
    drop(numbers);
    let mut table = write.open_table(USERS)?;
    let mut users = Vec::new();
    for row in table.iter()? {
        let (user, value) = row?;
        users.push((user.value().to_owned(), value.value()));
    }
    for (user, (horizon, used, v4, v6, clean)) in users {
        // A used code of a later time would block all codes until then. The code of now may be among those that it passed.
        let is_later = used.is_some_and(|used| used > step);
        let (used, v4, v6) = if is_later {
            (Some(step), true, true)
        } else {
            (used, v4, v6)
        };
        let row = (horizon.min(at), used, v4, v6, clean.min(at));
        table.insert(user.as_str(), row)?;
    }
    drop(table);
    write.commit()?;
    Ok(before)
}

fn begin(db: &Database) -> Result<WriteTransaction, StoreFault> {
    let mut write = db.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    Ok(write)
}

pub(super) fn read_times(
    numbers: &impl ReadableTable<&'static str, u64>,
) -> Result<StoredTimes, StoreFault> {
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
