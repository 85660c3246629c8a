//! What only the inside shows: refused files, files of earlier releases, a full half, and recovery.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use postern_proto::Mark;
use redb::{Database, TableDefinition};
use tempfile::{TempDir, tempdir};

use super::*;
use crate::adapters::store::ReplayStore;
use crate::model::fleet::{ClosedGrant, SharedId};
use crate::model::mark::{
    MarkRecord, RefusedRecord, RunRecord, StoredMarks, StoredTimes, UsedCodes, UserRecord,
};
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

fn run(n: u8) -> RunRecord {
    RunRecord {
        user: "alice".to_owned(),
        mark: Mark([n; 16]),
        used: Timestamp::from_millis(n.into()),
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

#[test]
fn first_start_creates_a_private_file() {
    let dir = made();
    let path = dir.path().join(FILE);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    // A first start that was cut short leaves a draft.
    std::fs::rename(&path, dir.path().join("marks.log.new")).unwrap();
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
#[expect(clippy::disallowed_methods, reason = "the test makes the files")]
fn another_format_is_refused() {
    let dir = made();
    let path = dir.path().join(FILE);
    let whole = std::fs::read(&path).unwrap();
    let mut later = whole.clone();
    for at in [0, 512] {
        later[at + 14] = b'4';
    }
    std::fs::write(&path, later).unwrap();
    let said = refused(dir.path());
    assert!(
        said.contains("format 4") && said.contains("knows only 3"),
        "{said}"
    );
    std::fs::write(&path, [0xff].repeat(whole.len())).unwrap();
    assert!(refused(dir.path()).contains("move the file away"));
}

#[test]
fn full_half_is_followed_by_the_other() {
    let dir = tempdir().unwrap();
    let mut store = DiskStore::open(dir.path()).unwrap();
    let length = || std::fs::metadata(dir.path().join(FILE)).unwrap().len();
    let first = length();
    for now in 0..30 {
        let marks: Vec<_> = (0..1_000).map(|n| record(n, 1_000 * now + n)).collect();
        store.commit(&marks, times(now, 1_000 * now)).unwrap();
    }
    assert_eq!(length(), first);
    assert_eq!(store.load().unwrap().marks.len(), 1_000);
    // Marks that all count make the file grow.
    for now in 0..10 {
        let marks: Vec<_> = (0..1_000)
            .map(|n| record(n, 100_000 + 1_000 * now + n))
            .collect();
        store.commit(&marks, times(now, 100_000)).unwrap();
    }
    assert!(length() > first);
    drop(store);
    let kept = DiskStore::open(dir.path()).unwrap().load().unwrap();
    assert_eq!(kept.marks.len(), 10_000);
}

#[test]
fn full_half_takes_times_alone() {
    // An empty log has one record.
    for count in 8_190..=8_192 {
        let dir = tempdir().unwrap();
        let mut store = DiskStore::open(dir.path()).unwrap();
        let marks: Vec<_> = (0..count).map(|n| record(n, n)).collect();
        store.commit(&marks, times(1, 0)).unwrap();
        store.commit(&[], times(2, 0)).unwrap();
        assert_eq!(store.load().unwrap().times, times(2, 0));
    }
}

#[test]
fn log_that_cannot_grow_is_used_to_its_end() {
    let dir = made();
    // As on a full disk: no larger file can be made.
    std::fs::create_dir(dir.path().join("marks.log.new")).unwrap();
    let marks = |now: u64| Vec::from_iter((0..1_000).map(|n| record(n, 1_000 * now + n)));
    let mut store = DiskStore::open(dir.path()).unwrap();
    for now in 0..8 {
        store.commit(&marks(now), times(now, 0)).unwrap();
        store.settle().unwrap();
    }
    assert!(store.commit(&marks(8), times(8, 0)).is_err());
    assert!(
        store.commit(&[], times(8, 0)).is_err(),
        "nothing follows a failure"
    );
    drop(store);
    let kept = DiskStore::open(dir.path()).unwrap().load().unwrap();
    assert_eq!(kept.marks.len(), 8_000);
}

#[test]
fn larger_log_is_not_tried_at_every_quiet_moment() {
    let dir = made();
    let blocker = dir.path().join("marks.log.new");
    std::fs::create_dir(&blocker).unwrap();
    let length = || std::fs::metadata(dir.path().join(FILE)).unwrap().len();
    let first = length();
    let mut store = DiskStore::open(dir.path()).unwrap();
    let mut next = 0;
    let mut add = |count| {
        let marks: Vec<_> = (next..next + count).map(|n| record(n, n)).collect();
        next += count;
        store.commit(&marks, times(next, 0)).unwrap();
        store.settle().unwrap();
    };
    add(5_000);
    // A larger one could be made now, but the last attempt was only just before.
    std::fs::remove_dir(&blocker).unwrap();
    for _ in 0..10 {
        add(100);
        assert_eq!(length(), first);
    }
    add(100);
    assert!(length() > first, "an eighth more was used");
    drop(store);
    let kept = DiskStore::open(dir.path()).unwrap().load().unwrap();
    assert_eq!(kept.marks.len(), 6_100);
}

#[test]
fn used_sequences_are_kept_in_their_own_file() {
    let dir = made();
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
}

#[test]
fn closed_grants_are_kept_until_they_end() {
    let dir = made();
    let closed = |number: u8, until| ClosedGrant {
        id: SharedId([number; 16]),
        at: Timestamp::from_millis(number.into()),
        until: Timestamp::from_millis(until),
    };
    let mut store = DiskStore::open(dir.path()).unwrap();
    // Nobody knocks at this gate, so its clock floor stays.
    for (floor, grant) in [(1, closed(1, 50)), (2, closed(2, 90)), (60, closed(3, 80))] {
        store
            .write(&StoredMarks {
                times: times(1, 0),
                closed: vec![grant],
                closed_floor: Timestamp::from_millis(floor),
                ..StoredMarks::default()
            })
            .unwrap();
    }
    drop(store);
    let mut kept = DiskStore::open(dir.path()).unwrap().load().unwrap();
    assert_eq!(kept.closed_floor, Timestamp::from_millis(60));
    kept.closed.sort_by_key(|grant| grant.id);
    assert_eq!(kept.closed, [closed(2, 90), closed(3, 80)]);
    assert_eq!(kept.marks, []);
}

/// A close that is forgotten lets its grant open again.
#[test]
#[expect(clippy::disallowed_methods, reason = "the test damages the file")]
fn damage_to_the_last_close_is_noticed() {
    let dir = made();
    let mut store = DiskStore::open(dir.path()).unwrap();
    for number in 1..=2 {
        let closed = vec![ClosedGrant {
            id: SharedId([number; 16]),
            at: Timestamp::from_millis(1),
            until: Timestamp::from_millis(9),
        }];
        let change = StoredMarks {
            closed,
            ..StoredMarks::default()
        };
        store.write(&change).unwrap();
    }
    store.settle().unwrap();
    drop(store);
    let path = dir.path().join("closed.log");
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(refused(dir.path()).contains("damaged"));
}

#[test]
fn record_for_all_replaces_closed_grants() {
    let dir = made();
    let closed = |id, at, until| ClosedGrant {
        id,
        at: Timestamp::from_millis(at),
        until: Timestamp::from_millis(until),
    };
    let (own, other) = (SharedId([1; 16]), SharedId([2; 16]));
    let mut store = DiskStore::open(dir.path()).unwrap();
    let before = std::fs::metadata(dir.path().join(FILE)).unwrap().len();
    for round in 1..=3 {
        let many = (0..9000).map(|nth| closed(own, round, 100 + round * 10_000 + nth));
        let late = closed(other, round, 90_000);
        let all = closed(ClosedGrant::ALL, round, 80_000 + round);
        for closed in [many.collect(), vec![all, late]] {
            let change = StoredMarks {
                closed,
                ..StoredMarks::default()
            };
            store.write(&change).unwrap();
        }
        let kept = |store: &mut DiskStore| store.load().unwrap().closed;
        assert_eq!(kept(&mut store), [all, late]);
        drop(store);
        store = DiskStore::open(dir.path()).unwrap();
        assert_eq!(kept(&mut store), [all, late]);
    }
    let size = std::fs::metadata(dir.path().join("closed.log")).unwrap();
    assert!(size.len() < 10 * before, "it does not grow");
}

fn old_file(dir: &Path, name: &str, fill: impl FnOnce(&redb::WriteTransaction)) {
    let path = dir.join(name);
    let db = Database::create(&path).unwrap();
    let write = db.begin_write().unwrap();
    fill(&write);
    write.commit().unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
}

/// As the release with this format wrote it.
fn old_marks(write: &redb::WriteTransaction, format: u64) {
    let mut numbers = write
        .open_table(TableDefinition::<&str, u64>::new("numbers"))
        .unwrap();
    for (name, value) in [
        ("format", format),
        ("floor in ms", 20),
        ("horizon in ms", 3),
    ] {
        numbers.insert(name, value).unwrap();
    }
    let mut marks = write
        .open_table(TableDefinition::<(u64, &[u8; 16]), u64>::new("marks"))
        .unwrap();
    for n in [2, 5, 9] {
        let record = record(n, n);
        marks
            .insert((n, &record.mark.0), record.admitted.as_millis())
            .unwrap();
    }
    if format == 1 {
        return;
    }
    let refused = TableDefinition::<(&str, u64, &[u8; 16]), u64>::new("refused marks");
    let mut refused = write.open_table(refused).unwrap();
    let record = record(7, 7);
    refused
        .insert(("bob", 7, &record.mark.0), record.admitted.as_millis())
        .unwrap();
    let users = TableDefinition::<&str, (u64, Option<u64>, bool, bool, u64)>::new("users");
    write
        .open_table(users)
        .unwrap()
        .insert("alice", (4, Some(8), true, false, 6))
        .unwrap();
}

#[test]
fn files_of_earlier_releases_are_taken_over() {
    for format in [1, 2] {
        let dir = tempdir().unwrap();
        old_file(dir.path(), "marks.redb", |write| old_marks(write, format));
        old_file(dir.path(), "runs.redb", |write| {
            let runs = TableDefinition::<(&str, &[u8; 16]), u64>::new("used sequences");
            write
                .open_table(runs)
                .unwrap()
                .insert(("alice", &[4; 16]), 4)
                .unwrap();
        });
        let refused = RefusedRecord {
            user: "bob".to_owned(),
            record: record(7, 7),
        };
        let alice = UserRecord {
            user: "alice".to_owned(),
            horizon: Timestamp::from_millis(4),
            codes: UsedCodes {
                step: Some(8),
                v4: true,
                v6: false,
                clean: Timestamp::from_millis(6),
            },
        };
        let expected = StoredMarks {
            times: times(20, 3),
            marks: vec![record(5, 5), record(9, 9)],
            refused: if format == 1 { vec![] } else { vec![refused] },
            users: if format == 1 { vec![] } else { vec![alice] },
            runs: vec![run(4)],
            ..StoredMarks::default()
        };
        assert_eq!(read_times(dir.path()).unwrap(), expected.times);
        for _ in 0..2 {
            assert_eq!(
                DiskStore::open(dir.path()).unwrap().load().unwrap(),
                expected
            );
        }
        let mut left: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["marks.log", "sequences.log"]);
    }
}

#[test]
fn unreadable_file_of_an_earlier_release_is_refused() {
    let dir = tempdir().unwrap();
    old_file(dir.path(), "marks.redb", |write| old_marks(write, 3));
    assert!(refused(dir.path()).contains("format 3"));
    let path = dir.path().join("marks.redb");
    #[expect(clippy::disallowed_methods, reason = "the test damages the file")]
    std::fs::write(&path, "no store").unwrap();
    assert!(refused(dir.path()).contains("move the file away"));
    assert!(!dir.path().join(FILE).exists());
}
