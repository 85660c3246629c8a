//! The store on disk: the log of marks, and beside it those of used sequences and of closed grants.

use std::fs::File;
use std::path::{Path, PathBuf};

use postern_proto::Mark;

use super::content::Content;
use super::file::{self, exists};
use super::log::Log;
use super::old;
use super::record::Entry;
use crate::adapters::store::{ReplayStore, StoreError, StoreFault};
use crate::model::fleet::{ClosedGrant, SharedId};
use crate::model::mark::{MarkRecord, StoredMarks, StoredTimes};
use crate::model::time::Timestamp;

/// The file's name in the state folder.
pub const FILE: &str = "marks.log";
/// Used sequences never age, so they have a file of their own. It is made for the first of them.
pub(super) const RUNS: &str = "sequences.log";
/// Closed grants of a gate that shares grants. In a file of their own, so that a release without shared grants still reads the marks.
pub(super) const CLOSED: &str = "closed.log";

/// The store that survives the engine.
#[derive(Debug)]
pub struct DiskStore {
    marks: LogFile,
    runs: Option<LogFile>,
    closed: Option<LogFile>,
    dir: PathBuf,
}

#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    /// `None` after a failure: nothing is added behind a change of which nobody knows whether it is durable.
    log: Option<Log<File>>,
}

impl DiskStore {
    /// Opens the logs in `dir`, or makes an empty one if there is none yet. The folder itself must exist.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let marks = dir.join(FILE);
        let runs = dir.join(RUNS);
        if !exists(&runs)?
            && let Some(old_runs) = old::runs(dir)?
        {
            drop(file::create(&runs, &old_runs)?);
        }
        if !exists(&marks)? {
            drop(file::create(&marks, &old::marks(dir)?.unwrap_or_default())?);
        }
        // Only now: until both are made, a start reads the old ones again.
        old::remove(dir)?;
        let runs = exists(&runs)?.then(|| LogFile::open(runs));
        let closed = dir.join(CLOSED);
        let closed = exists(&closed)?.then(|| LogFile::open(closed));
        Ok(Self {
            marks: LogFile::open(marks)?,
            runs: runs.transpose()?,
            closed: closed.transpose()?,
            dir: dir.to_owned(),
        })
    }

    /// Sets clock floor and horizons to this time, also back. Marks of later times stay. Returns the times before.
    pub fn reset_clock(&mut self, now: Timestamp) -> Result<StoredTimes, StoreError> {
        if let Some(closed) = &mut self.closed {
            closed.reset_clock(now)?;
        }
        self.marks.reset_clock(now)
    }
}

impl ReplayStore for DiskStore {
    fn load(&mut self) -> Result<StoredMarks, StoreError> {
        let stored = |log: &mut Option<LogFile>| match log {
            Some(log) => log.stored(),
            None => Ok(StoredMarks::default()),
        };
        let (runs, closed) = (stored(&mut self.runs)?, stored(&mut self.closed)?);
        let marks = self.marks.stored()?;
        Ok(StoredMarks {
            runs: runs.runs,
            closed: closed.marks.into_iter().map(closed_grant).collect(),
            closed_floor: closed.times.floor,
            ..marks
        })
    }

    fn write(&mut self, change: &StoredMarks) -> Result<(), StoreError> {
        // First: nothing opens before both are durable, and a run without its mark is refused all the same.
        if !change.runs.is_empty() {
            let entries = change.runs.iter().cloned().map(Entry::Run).collect();
            let runs = LogFile::made(&mut self.runs, || self.dir.join(RUNS))?;
            runs.append(StoredTimes::default(), entries)?;
            // Used sequences are few: each is safe from damage at once.
            runs.settle()?;
        }
        if !change.closed.is_empty() {
            let entries = change.closed.iter().map(|grant| Entry::Mark(record(grant)));
            let floor = change.times.floor.max(change.closed_floor);
            let times = StoredTimes {
                floor,
                horizon: floor,
            };
            let all = change.closed.iter().rev();
            let all = all.copied().find(|grant| grant.id == ClosedGrant::ALL);
            let closed = LogFile::made(&mut self.closed, || self.dir.join(CLOSED))?;
            match all {
                Some(all) => closed.replace(times, entries.collect(), |old| {
                    all.covers(&closed_grant(*old))
                })?,
                None => closed.append(times, entries.collect())?,
            }
        }
        let refused = change.refused.iter().cloned().map(Entry::Refused);
        let users = change.users.iter().cloned().map(Entry::User);
        let marks = change.marks.iter().copied().map(Entry::Mark);
        let entries = marks.chain(users).chain(refused).collect();
        self.marks.append(change.times, entries)
    }

    fn settle(&mut self) -> Result<(), StoreError> {
        if let Some(closed) = &mut self.closed {
            closed.settle()?;
        }
        self.marks.settle()
    }
}

/// A closed grant as a record of the log: its end decides how long it stays.
fn record(grant: &ClosedGrant) -> MarkRecord {
    MarkRecord {
        mark: Mark(grant.id.0),
        timestamp: grant.until,
        admitted: grant.at,
    }
}

fn closed_grant(record: MarkRecord) -> ClosedGrant {
    ClosedGrant {
        id: SharedId(record.mark.0),
        at: record.admitted,
        until: record.timestamp,
    }
}

impl LogFile {
    fn open(path: PathBuf) -> Result<Self, StoreError> {
        let (log, _) = file::open(&path)?;
        let log = Some(log);
        Ok(Self { path, log })
    }

    fn create(path: PathBuf) -> Result<Self, StoreError> {
        let log = Some(file::create(&path, &Content::default())?);
        Ok(Self { path, log })
    }

    /// The log that is there, or a new one.
    fn made(
        log: &mut Option<Self>,
        path: impl FnOnce() -> PathBuf,
    ) -> Result<&mut Self, StoreError> {
        let made = match log.take() {
            Some(made) => made,
            None => Self::create(path())?,
        };
        Ok(log.insert(made))
    }

    /// After an error the log is not used again: a new engine opens it, and writes all into the other half.
    fn with<T>(
        &mut self,
        work: impl FnOnce(&Path, Log<File>) -> Result<(Log<File>, T), StoreError>,
    ) -> Result<T, StoreError> {
        let failed = || StoreFault::System("an earlier change failed".to_owned());
        let log = self.log.take();
        let log = log.ok_or_else(|| StoreError::new(&self.path, failed()))?;
        let (log, done) = work(&self.path, log)?;
        self.log = Some(log);
        Ok(done)
    }

    fn stored(&mut self) -> Result<StoredMarks, StoreError> {
        Ok(self.with(read_again)?.stored())
    }

    fn append(&mut self, times: StoredTimes, entries: Vec<Entry>) -> Result<(), StoreError> {
        self.with(|path, mut log| {
            // Times alone take one.
            let records = entries.len().max(1);
            if !log.has_room(records) {
                let (full, content) = read_again(path, log)?;
                log = file::renewed(path, full, &content, records)?;
            }
            let done = log.append(times, entries);
            done.map_err(|fault| StoreError::new(path, fault))?;
            Ok((log, ()))
        })
    }

    /// Adds these entries, and removes the marks that they replace.
    fn replace(
        &mut self,
        times: StoredTimes,
        entries: Vec<Entry>,
        is_over: impl Fn(&MarkRecord) -> bool,
    ) -> Result<(), StoreError> {
        self.with(|path, log| {
            let (log, mut content) = read_again(path, log)?;
            content.apply(content.times.latest(times), entries);
            content.forget(is_over);
            Ok((file::renewed(path, log, &content, 0)?, ()))
        })
    }

    fn reset_clock(&mut self, now: Timestamp) -> Result<StoredTimes, StoreError> {
        self.with(|path, log| {
            let (mut log, mut content) = read_again(path, log)?;
            let before = content.times;
            content.reset_clock(now);
            log = file::renewed(path, log, &content, 0)?;
            Ok((log, before))
        })
    }

    fn settle(&mut self) -> Result<(), StoreError> {
        self.with(|path, mut log| {
            if log.is_settled() {
                return Ok((log, ()));
            }
            if log.is_half_full() {
                let (full, content) = read_again(path, log)?;
                return Ok((file::renewed(path, full, &content, 0)?, ()));
            }
            let done = log.settle();
            done.map_err(|fault| StoreError::new(path, fault))?;
            Ok((log, ()))
        })
    }
}

fn read_again(path: &Path, mut log: Log<File>) -> Result<(Log<File>, Content), StoreError> {
    let content = log.read();
    let content = content.map_err(|fault| StoreError::new(path, fault))?;
    Ok((log, content))
}

/// The times of a store that an engine may have open. Changes nothing.
pub fn read_times(dir: &Path) -> Result<StoredTimes, StoreError> {
    let marks = dir.join(FILE);
    if exists(&marks)? {
        return Ok(file::read(&marks)?.times);
    }
    Ok(old::marks(dir)?.unwrap_or_default().times)
}
