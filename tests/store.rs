//! The replay store on a real disk: opened again, killed, damaged, and used for long.
//!
//! After a confirmed commit the marks are there, or the store refuses to open (invariant 3).
#![cfg(feature = "daemon")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use postern::adapters::store::ReplayStore;
use postern::adapters::store::disk::{DiskStore, FILE, read_times};
use postern::model::mark::{
    MarkRecord, RefusedRecord, StoredMarks, StoredTimes, UsedCodes, UserRecord,
};
use postern::model::time::Timestamp;
use postern_proto::Mark;
use tempfile::{TempDir, tempdir};

fn record(number: u64) -> MarkRecord {
    let mut mark = [0xa5; 16];
    mark[4..12].copy_from_slice(&number.to_be_bytes());
    MarkRecord {
        mark: Mark(mark),
        timestamp: Timestamp::from_millis(number),
        admitted: Timestamp::from_millis(number + 7),
    }
}

fn times(floor: u64, horizon: u64) -> StoredTimes {
    StoredTimes {
        floor: Timestamp::from_millis(floor),
        horizon: Timestamp::from_millis(horizon),
    }
}

fn sorted(mut kept: StoredMarks) -> (Vec<MarkRecord>, StoredTimes) {
    kept.marks.sort_by_key(|record| record.timestamp);
    (kept.marks, kept.times)
}

fn reopened(dir: &Path) -> (Vec<MarkRecord>, StoredTimes) {
    sorted(DiskStore::open(dir).unwrap().load().unwrap())
}

#[test]
fn marks_survive_a_restart() {
    let dir = tempdir().unwrap();
    let mut store = DiskStore::open(dir.path()).unwrap();
    store.commit(&[record(3), record(1)], times(10, 0)).unwrap();
    store.commit(&[], times(11, 1)).unwrap();
    store.commit(&[record(2)], times(12, 1)).unwrap();
    drop(store);
    let kept = (vec![record(1), record(2), record(3)], times(12, 1));
    (0..3).for_each(|_| assert_eq!(reopened(dir.path()), kept));
}

fn user(name: &str, horizon: u64, step: u64) -> UserRecord {
    UserRecord {
        user: name.to_owned(),
        horizon: Timestamp::from_millis(horizon),
        codes: UsedCodes {
            step: Some(step),
            v4: true,
            ..UsedCodes::default()
        },
    }
}

#[test]
fn refused_marks_and_codes_survive_a_restart() {
    let dir = tempdir().unwrap();
    let mut store = DiskStore::open(dir.path()).unwrap();
    let refused = |user: &str, number| RefusedRecord {
        user: user.to_owned(),
        record: record(number),
    };
    let mut change = StoredMarks {
        times: times(10, 1),
        refused: vec![refused("alice", 3), refused("alice", 5), refused("bob", 3)],
        users: vec![user("alice", 0, 7), user("bob", 0, 7), user("bob", 0, 8)],
        ..StoredMarks::default()
    };
    store.write(&change).unwrap();
    // Only alice's horizon passes.
    change.refused = vec![refused("alice", 6)];
    change.users = vec![user("alice", 5, 9)];
    store.write(&change).unwrap();
    drop(store);
    let kept = DiskStore::open(dir.path()).unwrap().load().unwrap();
    let expected = [refused("alice", 5), refused("alice", 6), refused("bob", 3)];
    assert_eq!(kept.refused, expected);
    assert_eq!(kept.users, [user("alice", 5, 9), user("bob", 0, 8)]);
}

/// Marks of later times stay: their knocks would be fresh again at that time.
#[test]
fn reset_clock_keeps_marks_of_later_times() {
    let dir = tempdir().unwrap();
    let mut store = DiskStore::open(dir.path()).unwrap();
    store
        .write(&StoredMarks {
            times: times(90_000_000, 80_000_000),
            marks: vec![record(89_000_000)],
            users: vec![user("alice", 85_000_000, 3_000), user("bob", 1, 1)],
            ..StoredMarks::default()
        })
        .unwrap();
    let now = Timestamp::from_millis(60_000_000);
    assert_eq!(
        store.reset_clock(now).unwrap(),
        times(90_000_000, 80_000_000)
    );
    let kept = store.load().unwrap();
    assert_eq!(kept.times, times(60_000_000, 60_000_000));
    assert_eq!(kept.marks, [record(89_000_000)]);
    let mut alice = user("alice", 60_000_000, 2_000);
    alice.codes.v6 = true;
    assert_eq!(kept.users, [alice, user("bob", 1, 1)]);
    drop(store);
    assert_eq!(read_times(dir.path()).unwrap(), kept.times);
}

#[test]
fn floor_and_horizon_never_move_back() {
    let dir = tempdir().unwrap();
    let mut store = DiskStore::open(dir.path()).unwrap();
    store.commit(&[], times(100, 50)).unwrap();
    store.commit(&[], times(90, 60)).unwrap();
    store.commit(&[], times(110, 40)).unwrap();
    store.commit(&[], StoredTimes::default()).unwrap();
    assert_eq!(store.load().unwrap().times, times(110, 60));
    drop(store);
    assert_eq!(reopened(dir.path()).1, times(110, 60));
}

#[test]
fn marks_before_the_horizon_are_removed() {
    let dir = tempdir().unwrap();
    let mut store = DiskStore::open(dir.path()).unwrap();
    let all: Vec<_> = (0..100).map(record).collect();
    store.commit(&all, times(100, 0)).unwrap();
    let late = [record(20), record(200)];
    store.commit(&late, times(200, 50)).unwrap();
    let mut left = all[50..].to_vec();
    left.push(record(200));
    assert_eq!(sorted(store.load().unwrap()).0, left);
    drop(store);
    assert_eq!(reopened(dir.path()).0, left);
}

#[test]
fn file_stays_small_over_many_commits() {
    let dir = shared_memory();
    let mut store = DiskStore::open(dir.path()).unwrap();
    let mut sizes = Vec::new();
    for now in 0..10_000_u64 {
        let (marks, horizon) = ([2 * now, 2 * now + 1], (2 * now).saturating_sub(200));
        let times = times(2 * now, horizon);
        store.commit(&marks.map(record), times).unwrap();
        if now % 1_000 == 999 {
            sizes.push(std::fs::metadata(dir.path().join(FILE)).unwrap().len());
        }
    }
    assert_eq!(store.load().unwrap().marks.len(), 202);
    let is_small = |&size: &u64| size == sizes[0] && size < 4 << 20;
    assert!(sizes.iter().all(is_small), "{sizes:?}");
}

// --- killed ---------------------------------------------------------------------------------------------------------

const CHILD: &str = "POSTERN_TEST_STORE_DIR";

/// Not a test: the process that `confirmed_marks_survive_kill_9` starts and kills.
#[test]
fn child_commits_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD) else {
        return;
    };
    let mut store = DiskStore::open(Path::new(&dir)).unwrap();
    let from = store.load().unwrap().marks.len() as u64;
    let mut out = std::io::stdout();
    for number in from.. {
        store.commit(&[record(number)], times(number, 0)).unwrap();
        writeln!(out, "kept {number}").unwrap();
        out.flush().unwrap();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test is about a process that is killed"
)]
fn start_child(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_commits_until_it_is_killed", "--nocapture"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// `POSTERN_KILLS` says how many there are.
fn kills() -> usize {
    let kills = std::env::var("POSTERN_KILLS");
    kills.map_or(25, |kills| kills.parse().unwrap())
}

#[test]
fn confirmed_marks_survive_kill_9() {
    let dir = tempdir().unwrap();
    let mut expected = 0;
    for round in 0..kills() {
        let mut child = start_child(dir.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map(Result::unwrap);
        let mut confirmed = Vec::new();
        while confirmed.len() < 1 + round % 7 {
            confirmed.extend(number_of(
                &lines.next().expect("the child runs until it is killed"),
            ));
        }
        // By now it is in the middle of a later commit.
        child.kill().unwrap();
        child.wait().unwrap();
        confirmed.extend(lines.filter_map(|line| number_of(&line)));

        let (marks, kept) = reopened(dir.path());
        let last = *confirmed.last().unwrap();
        assert_eq!(confirmed[0], expected, "it continues after the killed one");
        let count = marks.len() as u64;
        let all: Vec<_> = (0..count).map(record).collect();
        assert_eq!(marks, all, "no gap in round {round}");
        let is_kept = count > last && kept.floor.as_millis() >= last;
        assert!(is_kept, "{last} was confirmed, round {round}");
        // One commit in progress may be stored as well, not more.
        assert!(count <= last + 2, "{count} marks and {last} confirmed");
        expected = count;
    }
}

fn number_of(line: &str) -> Option<u64> {
    line.split_once("kept ")
        .map(|(_, number)| number.parse().unwrap())
}

// --- damaged --------------------------------------------------------------------------------------------------------

const MARKS: u64 = 300;

fn shared_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempdir())
        .unwrap()
}

fn whole_file() -> Vec<u8> {
    let dir = shared_memory();
    let mut store = DiskStore::open(dir.path()).unwrap();
    for number in 0..MARKS {
        store.commit(&[record(number)], times(number, 0)).unwrap();
    }
    store.settle().unwrap();
    read(&dir.path().join(FILE))
}

#[expect(clippy::disallowed_methods, reason = "the test looks at the bytes")]
fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the test damages the file")]
fn put(dir: &Path, bytes: &[u8]) {
    let path = dir.join(FILE);
    std::fs::write(&path, bytes).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
}

/// Whether the store refuses these bytes. If it opens them, all marks must be there, now and after one more commit.
fn refuses(dir: &Path, bytes: &[u8], what: &str) -> bool {
    put(dir, bytes);
    let kept = DiskStore::open(dir).and_then(|mut store| {
        let kept = store.load()?;
        store.commit(&[record(MARKS)], times(MARKS, 0))?;
        Ok((sorted(kept), sorted(store.load()?)))
    });
    match kept {
        Ok((before, after)) => {
            for (found, count) in [(before, MARKS), (after, MARKS + 1)] {
                let expected = ((0..count).map(record).collect(), times(count - 1, 0));
                let (marks, times) = (found.0.len(), found.1);
                assert!(found == expected, "{what}: {marks} marks, {times:?}");
            }
            false
        }
        Err(error) => {
            let said = error.to_string();
            let has_cure = said.contains("move the file away") && said.lines().count() == 1;
            let names_file = said.starts_with(dir.join(FILE).to_str().unwrap());
            assert!(has_cure && names_file, "{what}: {said}");
            true
        }
    }
}

#[test]
fn truncated_file_never_opens_with_fewer_marks() {
    let (dir, whole) = (shared_memory(), whole_file());
    assert!(!refuses(dir.path(), &whole, "whole"));
    let lengths = [0, 1, 511, 512, 4_095, 4_096, 8_192, 12_288].into_iter();
    let steps = (1..64)
        .map(|part| whole.len() * part / 64)
        .chain([whole.len() - 4_096, whole.len() - 1]);
    for length in lengths.chain(steps) {
        let what = format!("{length} bytes left");
        assert!(refuses(dir.path(), &whole[..length], &what), "{what}");
    }
}

#[test]
fn lost_or_swapped_page_loses_no_mark_silently() {
    const PAGE: usize = 4_096;
    let (dir, whole) = (shared_memory(), whole_file());
    let used: Vec<_> = (0..whole.len() / PAGE)
        .filter(|page| whole[page * PAGE..][..PAGE].iter().any(|&byte| byte != 0))
        .collect();
    let mut refused = 0;
    for (page, other) in used.iter().zip(used.iter().skip(1)) {
        let mut lost = whole.clone();
        lost[page * PAGE..][..PAGE].fill(0);
        let what = format!("page {page} lost");
        refused += usize::from(refuses(dir.path(), &lost, &what));
        let mut swapped = whole.clone();
        swapped.copy_within(other * PAGE..(other + 1) * PAGE, page * PAGE);
        let what = format!("page {page} is a copy of {other}");
        refuses(dir.path(), &swapped, &what);
    }
    assert!(refused > 3, "{refused} of {} refused", used.len());
}

#[test]
fn foreign_file_is_refused() {
    let dir = shared_memory();
    let long = [0xff; 1 << 20];
    for bytes in [&b"\n"[..], b"SQLite format 3\0", &[0; 4_096], &long] {
        assert!(refuses(dir.path(), bytes, "something else"));
    }
}

#[test]
fn flipped_byte_loses_no_mark_silently() {
    let (dir, whole) = (shared_memory(), whole_file());
    // Both copies of the header, and a sample of the written bytes.
    let header = (0..1_024)
        .step_by(3)
        .flat_map(|at| [(at, 0xff), (at, 0x01)]);
    let written: Vec<_> = (1_024..whole.len()).filter(|&at| whole[at] != 0).collect();
    let sample = written
        .iter()
        .step_by(written.len() / 200 + 1)
        .map(|&at| (at, 0x10));
    let (mut tried, mut refused) = (0, 0);
    for (at, mask) in header.chain(sample) {
        let mut bytes = whole.clone();
        bytes[at] ^= mask;
        tried += 1;
        let what = format!("byte {at} ^ {mask:#04x}");
        refused += usize::from(refuses(dir.path(), &bytes, &what));
    }
    let both = refused > 50 && refused < tried;
    assert!(both, "{refused} of {tried}");
}
