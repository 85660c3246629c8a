//! What only the inside can show: other formats, strange files, the bound on one commit's work, and recovery.

use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::{TempDir, tempdir};

use super::*;

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

/// A store that was opened once and closed again.
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
    store
        .db
        .as_ref()
        .unwrap()
        .begin_read()
        .unwrap()
        .open_table(MARKS)
        .unwrap()
        .len()
        .unwrap()
}

#[test]
fn a_first_start_makes_a_file_for_its_owner_alone_and_leaves_no_draft() {
    let dir = made();
    let names: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, [FILE]);
    assert_eq!(
        std::fs::metadata(dir.path().join(FILE))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777,
        0o600
    );
}

#[test]
fn a_draft_of_a_first_start_that_was_cut_short_is_no_hindrance() {
    let dir = made();
    std::fs::rename(dir.path().join(FILE), dir.path().join("marks.redb.new")).unwrap();
    assert!(
        DiskStore::open(dir.path())
            .unwrap()
            .load()
            .unwrap()
            .marks
            .is_empty()
    );
}

#[test]
fn a_folder_that_is_missing_is_not_made() {
    let dir = tempdir().unwrap();
    let missing = dir.path().join("none");
    assert!(refused(&missing).contains("no such folder"));
    assert!(!missing.exists());
}

#[test]
fn a_file_that_others_may_use_is_refused_with_the_command_that_helps() {
    let dir = made();
    for mode in [0o640, 0o604, 0o620, 0o602, 0o666] {
        std::fs::set_permissions(dir.path().join(FILE), PermissionsExt::from_mode(mode)).unwrap();
        assert!(refused(dir.path()).contains("chmod 600 "), "{mode:o}");
    }
}

#[test]
fn a_link_or_a_folder_in_the_files_place_is_refused() {
    let (dir, other) = (tempdir().unwrap(), made());
    symlink(other.path().join(FILE), dir.path().join(FILE)).unwrap();
    assert!(refused(dir.path()).contains("not a plain file"));
    std::fs::remove_file(dir.path().join(FILE)).unwrap();
    std::fs::create_dir(dir.path().join(FILE)).unwrap();
    assert!(refused(dir.path()).contains("not a plain file"));
}

#[test]
fn a_second_opening_is_refused_and_does_not_tell_to_move_the_file_away() {
    let dir = tempdir().unwrap();
    let mut first = DiskStore::open(dir.path()).unwrap();
    let said = refused(dir.path());
    assert!(
        said.contains("stop the other posternd") && !said.contains("move"),
        "{said}"
    );
    first.commit(&[record(1, 5)], times(5, 0)).unwrap();
}

#[test]
fn another_format_is_refused_and_named() {
    let dir = made();
    let db = Database::open(dir.path().join(FILE)).unwrap();
    let write = db.begin_write().unwrap();
    write
        .open_table(NUMBERS)
        .unwrap()
        .insert(NAME_FORMAT, 2)
        .unwrap();
    write.commit().unwrap();
    drop(db);
    assert!(refused(dir.path()).contains("format 2"));
}

#[test]
fn a_database_of_something_else_is_refused() {
    let dir = made();
    let path = dir.path().join(FILE);
    for other in ["numbers", "others"] {
        std::fs::remove_file(&path).unwrap();
        let db = Database::create(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        let write = db.begin_write().unwrap();
        write
            .open_table(TableDefinition::<u8, &str>::new(other))
            .unwrap();
        write.commit().unwrap();
        drop(db);
        assert!(
            refused(dir.path()).contains("move the file away"),
            "{other}"
        );
    }
}

#[test]
fn one_commit_forgets_a_bounded_number_and_the_next_ones_the_rest() {
    let dir = tempdir().unwrap();
    let mut store = DiskStore::open(dir.path()).unwrap();
    let old: Vec<_> = (0..1_000).map(|number| record(number, number)).collect();
    store.commit(&old, times(0, 0)).unwrap();

    store
        .commit(&[record(5_000, 5_000)], times(5_000, 5_000))
        .unwrap();
    let limit = FORGET_AT_MOST as u64 + 4;
    assert_eq!(rows(&store), 1_001 - limit);
    assert_eq!(
        store.load().unwrap().marks,
        [record(5_000, 5_000)],
        "what is left behind does not show"
    );

    for _ in 0..3 {
        store.commit(&[], times(5_000, 5_000)).unwrap();
    }
    assert_eq!(rows(&store), 1);
}

#[test]
fn a_file_that_vanishes_under_a_store_in_trouble_is_not_made_anew() {
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
fn a_panic_inside_becomes_a_sentence() {
    let said = guarded(Path::new("/x/marks.redb"), || -> Result<(), Trouble> {
        panic!("boom")
    })
    .unwrap_err()
    .to_string();
    assert!(
        said.starts_with("/x/marks.redb: ") && said.contains("move the file away"),
        "{said}"
    );
}
