//! Crash consistency: every prefix of a store's writes, and what a power cut leaves of the last ones.
//!
//! A recorder in place of the disk keeps each write, change of length and sync of several runs of a store. One run closes the
//! store, the others are killed. Each moment becomes a file, which must open as at any start.

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

use super::super::format::builder;
use super::super::runs::Runs;
use super::*;

#[derive(Debug, Clone)]
enum Operation {
    Write(usize, Vec<u8>),
    Length(usize),
    Sync,
}

impl Operation {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Write(at, bytes) => {
                image.resize(image.len().max(at + bytes.len()), 0);
                image[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            Self::Length(len) => image.resize(*len, 0),
            Self::Sync => {}
        }
    }

    fn torn(&self, part: usize, of: usize) -> Option<Self> {
        let Self::Write(at, bytes) = self else {
            return None;
        };
        let len = (bytes.len() * part / of).clamp(1, bytes.len());
        (len < bytes.len()).then(|| Self::Write(*at, bytes[..len].to_vec()))
    }
}

#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<(Vec<u8>, Vec<Operation>)>>);

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}

impl Recorder {
    fn does(&self, operation: Operation) {
        let mut held = self.0.lock().unwrap();
        operation.apply(&mut held.0);
        held.1.push(operation);
    }

    fn operations(&self) -> usize {
        self.0.lock().unwrap().1.len()
    }
}

impl StorageBackend for Recorder {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().0.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (held, offset) = (self.0.lock().unwrap(), offset as usize);
        let bytes = held.0.get(offset..offset + out.len());
        out.copy_from_slice(bytes.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.does(Operation::Length(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.does(Operation::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.does(Operation::Write(offset as usize, data.to_vec()));
        Ok(())
    }
}

type Content = (Vec<MarkRecord>, StoredTimes);

struct History {
    first: Vec<u8>,
    operations: Vec<Operation>,
    /// From this many operations on, a load returns this, and at most one commit more.
    confirmed: Vec<(usize, Content)>,
}

impl History {
    /// What a start after this many operations may find: the last confirmed commit, or also the whole commit in progress.
    fn may_hold(&self, operations: usize) -> [Option<&Content>; 2] {
        let next = self
            .confirmed
            .partition_point(|(from, _)| *from <= operations);
        let held = |at: usize| self.confirmed.get(at).map(|(_, held)| held);
        [held(next - 1), held(next)]
    }

    fn unsettled(&self, operations: usize) -> &[Operation] {
        let is_sync = |operation: &Operation| matches!(operation, Operation::Sync);
        let done = &self.operations[..operations];
        let synced = done.iter().rposition(is_sync).map_or(0, |at| at + 1);
        &done[synced..]
    }
}

#[expect(clippy::disallowed_methods, reason = "the test looks at the bytes")]
fn read(dir: &Path) -> Vec<u8> {
    std::fs::read(dir.join(FILE)).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the test makes the file")]
fn put(dir: &Path, bytes: &[u8]) {
    let path = dir.join(FILE);
    std::fs::write(&path, bytes).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
}

fn held(store: &mut DiskStore) -> Content {
    let mut kept = store.load().unwrap();
    kept.marks
        .sort_by_key(|record| (record.timestamp, record.mark.0));
    (kept.marks, kept.times)
}

/// Runs of a store: one mark, many marks, a moving horizon, with and without settling, floors that would go back.
fn history() -> History {
    let made = made();
    let first = read(made.path());
    let disk = Recorder(Arc::new(Mutex::new((first.clone(), Vec::new()))));
    let mut confirmed = vec![(0, (Vec::new(), StoredTimes::default()))];
    let mut now = 0;
    for run in 0..3 {
        let db = builder()
            .set_check_integrity_on_open(true)
            .create_with_backend(disk.clone())
            .unwrap();
        let mut store = DiskStore {
            path: made.path().join(FILE),
            db: Some(db),
            runs: Runs::open(made.path()).unwrap(),
        };
        for step in 0..12_u64 {
            let count = if step == 5 { 300 } else { 1 + step % 3 };
            let marks: Vec<_> = (0..count).map(|n| record(now + n, now + n)).collect();
            now += count;
            let floor = if step % 4 == 3 { now / 2 } else { now };
            let times = times(floor, now.saturating_sub(40));
            store.commit(&marks, times).unwrap();
            confirmed.push((disk.operations(), held(&mut store)));
            if step % 2 == 0 {
                store.settle().unwrap();
            }
        }
        match run {
            0 => drop(store),
            // As after kill -9: nothing is closed.
            _ => std::mem::forget(store),
        }
    }
    let times = confirmed.iter().map(|(_, (_, times))| times);
    assert!(times.clone().map(|times| times.floor).is_sorted());
    assert!(times.map(|times| times.horizon).is_sorted());
    let operations = std::mem::take(&mut disk.0.lock().unwrap().1);
    History {
        first,
        operations,
        confirmed,
    }
}

fn in_memory() -> TempDir {
    let dir = tempfile::tempdir_in("/dev/shm");
    dir.or_else(|_| tempdir()).unwrap()
}

fn expect_whole(dir: &Path, image: &[u8], may_hold: &[Option<&Content>], what: &str) {
    put(dir, image);
    let mut store =
        DiskStore::open(dir).unwrap_or_else(|error| panic!("{what}: a start fails: {error}"));
    let found = held(&mut store);
    let count = found.0.len();
    assert!(
        may_hold.contains(&Some(&found)),
        "{what}: {count} marks, {:?}",
        found.1
    );
    let next = record(1 << 40, 1 << 40);
    store.commit(&[next], StoredTimes::default()).unwrap();
    let after = held(&mut store);
    let has_one_more = after.0.contains(&next) && after.0.len() == count + 1;
    assert!(has_one_more, "{what}: one more commit");
    assert!(after.1 == found.1, "{what}: one more commit");
}

#[test]
fn every_prefix_of_writes_keeps_confirmed_marks() {
    let (dir, history) = (in_memory(), history());
    let mut image = history.first.clone();
    let mut tried = 0;
    for (done, operation) in history.operations.iter().enumerate() {
        let may_hold = history.may_hold(done);
        for (part, of) in [(0, 1), (1, 2), (7, 8)] {
            let Some(torn) = operation.torn(part, of) else {
                continue;
            };
            let mut image = image.clone();
            torn.apply(&mut image);
            let what = format!("{done} operations and {part}/{of} of the next");
            expect_whole(dir.path(), &image, &may_hold, &what);
            tried += 1;
        }
        operation.apply(&mut image);
        let (may_hold, what) = (
            history.may_hold(done + 1),
            format!("{done} operations and 1"),
        );
        expect_whole(dir.path(), &image, &may_hold, &what);
        tried += 1;
    }
    assert!(tried > 500);
}

/// A disk may do what lies between two syncs in any order: at a power cut any part of it may be there, torn or whole.
#[test]
fn any_part_of_unsynced_writes_keeps_confirmed_marks() {
    let (dir, history) = (in_memory(), history());
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    let (mut settled, mut tried) = (history.first.clone(), 0);
    for done in 1..=history.operations.len() {
        let unsettled = history.unsettled(done);
        if unsettled.is_empty() {
            settled = history.first.clone();
            let operations = history.operations[..done].iter();
            operations.for_each(|operation| operation.apply(&mut settled));
            continue;
        }
        // Of each span the last moment with every single write missing, and a few others by chance.
        let is_last = history
            .operations
            .get(done)
            .is_none_or(|operation| matches!(operation, Operation::Sync));
        let missing = (0..unsettled.len())
            .filter(|_| is_last)
            .map(|lost| !(1_u64 << (lost % 56)));
        let mut chances = || {
            dice = dice
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            dice >> 8
        };
        let by_chance: [u64; 3] = std::array::from_fn(|_| chances());
        let chosen = missing
            .flat_map(|mask| [(mask, false), (mask, true)])
            .chain(by_chance.map(|mask| (mask, mask & 1 == 1)));
        for (mask, tears) in chosen {
            let mut image = settled.clone();
            for (number, operation) in unsettled.iter().enumerate() {
                let is_there =
                    mask >> (number % 56) & 1 == 1 || matches!(operation, Operation::Length(_));
                let torn = tears.then(|| operation.torn(1, 2)).flatten();
                match (is_there, torn) {
                    (true, _) => operation.apply(&mut image),
                    (false, Some(torn)) => torn.apply(&mut image),
                    (false, None) => {}
                }
            }
            let what = format!(
                "{done} operations, of the last {}: {mask:#b}",
                unsettled.len()
            );
            expect_whole(dir.path(), &image, &history.may_hold(done), &what);
            tried += 1;
        }
    }
    assert!(tried > 500);
}
