//! What only the inside shows: refused files, the bound on the work of one commit, and recovery.

use std::os::unix::fs::{PermissionsExt, symlink};

use std::path::Path;

use postern_proto::Mark;
use redb::{Database, ReadableDatabase, TableDefinition};
use tempfile::{TempDir, tempdir};

use super::faults::guarded;
use super::format::{MARKS, NAME_FORMAT, NUMBERS, REMOVE_MAX};
use super::*;
use crate::adapters::store::{ReplayStore, StoreFault};
use crate::model::mark::{MarkRecord, RunRecord, StoredMarks, StoredTimes};
use crate::model::time::Timestamp;

mod prefixes;

fn record(number: u64, timestamp: u64) -> MarkRecord {
    let mut mark = [0; 16];
    mark[..8].copy_from_slice(&number.to_be_bytes());
    MarkRecord {
        mark: Mark(mark),
        timestamp: Timestamp::from_millis(timestamp),
        admitted: Timestamp::from_millis(timestamp + 1),
    }
}

fn times(floor: u64, horizon: u64) -> StoredTimes {
    StoredTimes {
        floor: Timestamp::from_millis(floor),
        horizon: Timestamp::from_millis(horizon),
    }
}

fn made() -> TempDir {
    let dir = tempdir().unwrap();
    DiskStore::open(dir.path()).unwrap();
    dir
}

fn refused(dir: &Path) -> String {
    let said = DiskStore::open(dir).unwrap_err().to_string();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with(dir.to_str().unwrap()), "{said}");
    said
}

fn rows(store: &DiskStore) -> u64 {
    use redb::ReadableTableMetadata;
    let read = store.db.as_ref().unwrap().begin_read().unwrap();
    read.open_table(MARKS).unwrap().len().unwrap()
}

#[test]
fn first_start_creates_a_private_file() {
    let dir = made();
    let path = dir.path().join(FILE);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    // A first start that was cut short leaves a draft.
    std::fs::rename(&path, dir.path().join("marks.redb.new")).unwrap();
    let kept = DiskStore::open(dir.path()).unwrap().load().unwrap();
    assert!(kept.marks.is_empty());
}

#[test]
fn unsafe_file_is_refused_with_its_cure() {
    let dir = made();
    let path = dir.path().join(FILE);
    for mode in [0o640, 0o604, 0o620, 0o602, 0o666] {
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        assert!(refused(dir.path()).contains("chmod 600 "), "{mode:o}");
    }
    let other = made();
    std::fs::remove_file(&path).unwrap();
    symlink(other.path().join(FILE), &path).unwrap();
    assert!(refused(dir.path()).contains("not a plain file"));
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(refused(dir.path()).contains("not a plain file"));
    let missing = dir.path().join("none");
    assert!(refused(&missing).contains("no such folder"));
    assert!(!missing.exists());
}

#[test]
fn second_process_is_refused() {
    let dir = tempdir().unwrap();
    let mut first = DiskStore::open(dir.path()).unwrap();
    let error = refused(dir.path());
    assert!(error.contains("stop the other posternd"), "{error}");
    assert!(!error.contains("move"), "{error}");
    first.commit(&[record(1, 5)], times(5, 0)).unwrap();
}

#[test]
fn another_format_is_refused() {
    let dir = made();
    let path = dir.path().join(FILE);
    let db = Database::open(&path).unwrap();
    let write = db.begin_write().unwrap();
    let format = (NAME_FORMAT, 3);
    let mut numbers = write.open_table(NUMBERS).unwrap();
    numbers.insert(format.0, format.1).unwrap();
    drop(numbers);
    write.commit().unwrap();
    drop(db);
    assert!(refused(dir.path()).contains("format 3"));
    for other in ["numbers", "others"] {
        std::fs::remove_file(&path).unwrap();
        let db = Database::create(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        let write = db.begin_write().unwrap();
        let table = TableDefinition::<u8, &str>::new(other);
        write.open_table(table).unwrap();
        write.commit().unwrap();
        drop(db);
        let said = refused(dir.path());
        assert!(said.contains("move the file away"), "{other}: {said}");
    }
}

#[test]
fn one_commit_removes_a_bounded_number() {
    let dir = tempdir().unwrap();
    let mut store = DiskStore::open(dir.path()).unwrap();
    let old: Vec<_> = (0..1_000).map(|number| record(number, number)).collect();
    store.commit(&old, times(0, 0)).unwrap();

    let last = [record(5_000, 5_000)];
    store.commit(&last, times(5_000, 5_000)).unwrap();
    let limit = REMOVE_MAX as u64 + 4;
    assert_eq!(rows(&store), 1_001 - limit);
    // A mark before the horizon is not loaded.
    assert_eq!(store.load().unwrap().marks, last);

    for _ in 0..3 {
        store.commit(&[], times(5_000, 5_000)).unwrap();
    }
    assert_eq!(rows(&store), 1);
}

#[test]
fn vanished_file_is_not_created_again() {
    let dir = tempdir().unwrap();
    let mut store = DiskStore::open(dir.path()).unwrap();
    store.db = None; // as after a failed commit
    store.commit(&[record(1, 1)], times(0, 0)).unwrap();
    store.db = None;
    std::fs::remove_file(dir.path().join(FILE)).unwrap();
    assert!(store.commit(&[record(2, 2)], times(0, 0)).is_err());
    assert!(store.load().is_err());
    assert!(!dir.path().join(FILE).exists());
}

#[test]
fn panic_inside_becomes_an_error() {
    let said = guarded(Path::new("/x/marks.redb"), || -> Result<(), StoreFault> {
        panic!("boom")
    })
    .unwrap_err()
    .to_string();
    assert!(said.starts_with("/x/marks.redb: "), "{said}");
    assert!(said.contains("move the file away"), "{said}");
}

#[test]
fn used_sequences_are_kept_in_their_own_file() {
    let dir = made();
    let run = |n: u8| RunRecord {
        user: "alice".to_owned(),
        mark: Mark([n; 16]),
        used: Timestamp::from_millis(n.into()),
    };
    for n in 0..3 {
        let mut store = DiskStore::open(dir.path()).unwrap();
        let change = StoredMarks {
            runs: vec![run(n)],
            ..StoredMarks::default()
        };
        store.write(&change).unwrap();
    }
    let kept = DiskStore::open(dir.path()).unwrap().load().unwrap();
    assert_eq!(kept.runs, [run(0), run(1), run(2)]);
    // A file that is gone from under a running engine is not made anew.
    let mut store = DiskStore::open(dir.path()).unwrap();
    store.runs.close();
    std::fs::remove_file(dir.path().join("runs.redb")).unwrap();
    assert!(store.load().is_err());
}
