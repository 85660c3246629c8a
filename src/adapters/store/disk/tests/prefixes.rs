//! Crash consistency: every prefix of the writes that a store makes, and what a power cut may leave of the last ones.
//!
//! A recording in the disk's place holds each write, each change of length and each sync of two runs of a store: one that is
//! closed in order, one that is killed, and the opening after it. Each moment of it is put into a file and opened as at any start.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

use super::*;

/// What was done to the disk.
#[derive(Debug, Clone)]
enum Deed {
    Write(usize, Vec<u8>),
    Length(usize),
    Sync,
}

impl Deed {
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

    /// Only its first bytes, as where the power went in the middle of it.
    fn torn(&self, part: usize, of: usize) -> Option<Self> {
        let Self::Write(at, bytes) = self else {
            return None;
        };
        let len = (bytes.len() * part / of).clamp(1, bytes.len());
        (len < bytes.len()).then(|| Self::Write(*at, bytes[..len].to_vec()))
    }
}

/// A disk that remembers all that was done to it. Clones share it.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<(Vec<u8>, Vec<Deed>)>>);

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}

impl Recorder {
    fn does(&self, deed: Deed) {
        let mut held = self.0.lock().unwrap();
        deed.apply(&mut held.0);
        held.1.push(deed);
    }

    fn deeds(&self) -> usize {
        self.0.lock().unwrap().1.len()
    }
}

impl StorageBackend for Recorder {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().0.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let held = self.0.lock().unwrap();
        let bytes = held
            .0
            .get(offset as usize..offset as usize + out.len())
            .ok_or(ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.does(Deed::Length(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.does(Deed::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.does(Deed::Write(offset as usize, data.to_vec()));
        Ok(())
    }
}

/// What a load gives.
type Held = (Vec<MarkRecord>, StoredTimes);

/// The recording, and what had been confirmed by when.
struct History {
    first: Vec<u8>,
    deeds: Vec<Deed>,
    /// From so many deeds on a load gives this, and at most one commit more.
    confirmed: Vec<(usize, Held)>,
}

impl History {
    /// What a start after so many deeds may find: what was confirmed last, or with it the whole of the commit under way.
    fn may_hold(&self, deeds: usize) -> [Option<&Held>; 2] {
        let next = self
            .confirmed
            .iter()
            .position(|(from, _)| *from > deeds)
            .unwrap_or(self.confirmed.len());
        [self.confirmed.get(next - 1), self.confirmed.get(next)]
            .map(|held| held.map(|(_, held)| held))
    }

    /// The deeds since the last sync, which the disk may have done in part.
    fn unsettled(&self, deeds: usize) -> &[Deed] {
        let synced = self.deeds[..deeds]
            .iter()
            .rposition(|deed| matches!(deed, Deed::Sync))
            .map_or(0, |at| at + 1);
        &self.deeds[synced..deeds]
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

fn held(store: &mut DiskStore) -> Held {
    let mut kept = store.load().unwrap();
    kept.marks
        .sort_by_key(|record| (record.timestamp, record.mark.0));
    (kept.marks, kept.times)
}

/// Runs of a store: single marks as on a quiet day, a crowd of them, a horizon that moves on, settling and not, floors that
/// would go back.
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
        };
        for step in 0..12_u64 {
            let count = if step == 5 { 300 } else { 1 + step % 3 };
            let marks: Vec<_> = (0..count).map(|n| record(now + n, now + n)).collect();
            now += count;
            let floor = if step % 4 == 3 { now / 2 } else { now };
            store
                .commit(&marks, times(floor, now.saturating_sub(40)))
                .unwrap();
            confirmed.push((disk.deeds(), held(&mut store)));
            if step % 2 == 0 {
                store.settle().unwrap();
            }
        }
        match run {
            0 => drop(store),
            // As by kill -9: nothing of it is closed.
            _ => std::mem::forget(store),
        }
    }
    let times = confirmed.iter().map(|(_, (_, times))| times);
    assert!(
        times.clone().map(|times| times.floor).is_sorted()
            && times.map(|times| times.horizon).is_sorted(),
        "floor and horizon go back"
    );
    let deeds = std::mem::take(&mut disk.0.lock().unwrap().1);
    History {
        first,
        deeds,
        confirmed,
    }
}

/// Opens these bytes as a start would, and fails unless just what may be there is; then goes on from there.
fn expect_whole(dir: &Path, image: &[u8], may_hold: &[Option<&Held>], what: &str) {
    put(dir, image);
    let mut store = DiskStore::open(dir)
        .unwrap_or_else(|error| panic!("{what}: a start needs a hand: {error}"));
    let found = held(&mut store);
    assert!(
        may_hold.contains(&Some(&found)),
        "{what}: {} marks, {:?}",
        found.0.len(),
        found.1
    );
    let next = record(1 << 40, 1 << 40);
    store.commit(&[next], StoredTimes::default()).unwrap();
    let after = held(&mut store);
    assert!(
        after.0.contains(&next) && after.0.len() == found.0.len() + 1 && after.1 == found.1,
        "{what}: after one more commit"
    );
}

#[test]
fn every_prefix_of_the_stores_writes_opens_with_every_confirmed_mark_also_where_the_last_write_is_torn()
 {
    let dir = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempdir())
        .unwrap();
    let history = history();
    let mut image = history.first.clone();
    let mut tried = 0;
    for (done, deed) in history.deeds.iter().enumerate() {
        let may_hold = history.may_hold(done);
        for (part, of) in [(0, 1), (1, 2), (7, 8)] {
            let Some(torn) = deed.torn(part, of) else {
                continue;
            };
            let mut image = image.clone();
            torn.apply(&mut image);
            expect_whole(
                dir.path(),
                &image,
                &may_hold,
                &format!("{done} deeds and {part}/{of} of the next"),
            );
            tried += 1;
        }
        deed.apply(&mut image);
        expect_whole(
            dir.path(),
            &image,
            &history.may_hold(done + 1),
            &format!("{} deeds", done + 1),
        );
        tried += 1;
    }
    println!(
        "{tried} moments of {} deeds, {} commits",
        history.deeds.len(),
        history.confirmed.len() - 1
    );
    assert!(tried > 500);
}

/// A disk may do what lies between two syncs in any order: at a power cut any part of it may be there, torn or whole.
#[test]
fn any_part_of_what_was_written_since_the_last_sync_opens_with_every_confirmed_mark() {
    let dir = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempdir())
        .unwrap();
    let history = history();
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    let (mut settled, mut tried) = (history.first.clone(), 0);
    for done in 1..=history.deeds.len() {
        let unsettled = history.unsettled(done);
        if unsettled.is_empty() {
            settled =
                history.deeds[..done]
                    .iter()
                    .fold(history.first.clone(), |mut image, deed| {
                        deed.apply(&mut image);
                        image
                    });
            continue;
        }
        // Of each span the last moment with every single write missing, and a few others by chance.
        let is_last = history
            .deeds
            .get(done)
            .is_none_or(|deed| matches!(deed, Deed::Sync));
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
            for (number, deed) in unsettled.iter().enumerate() {
                let is_there = mask >> (number % 56) & 1 == 1 || matches!(deed, Deed::Length(_));
                let torn = tears.then(|| deed.torn(1, 2)).flatten();
                match (is_there, torn) {
                    (true, _) => deed.apply(&mut image),
                    (false, Some(torn)) => torn.apply(&mut image),
                    (false, None) => {}
                }
            }
            expect_whole(
                dir.path(),
                &image,
                &history.may_hold(done),
                &format!("{done} deeds, of the last {}: {mask:#b}", unsettled.len()),
            );
            tried += 1;
        }
    }
    println!("{tried} moments of {} deeds", history.deeds.len());
    assert!(tried > 500);
}
