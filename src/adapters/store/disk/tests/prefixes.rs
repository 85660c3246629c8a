//! Crash consistency: what a power cut may leave of the sectors that were written since the last sync.
//!
//! A recorder in place of the disk keeps each write and sync of several runs of a log. Each moment becomes an image, which must open
//! as at any start, with what was reported durable and at most the change in progress.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};

use super::super::content::Content;
use super::super::log::{Disk, Log};
use super::super::record::Entry;
use super::*;

const SECTOR: usize = 512;
/// Small, so that the half changes often.
const CAPACITY: u32 = 96;

#[derive(Debug, Clone)]
enum Operation {
    /// The number of a sector, and its bytes after the write.
    Write(usize, Vec<u8>),
    Sync,
}

/// The bytes now, and all that was done.
#[derive(Debug, Clone, Default)]
struct Recorder(Arc<Mutex<(Vec<u8>, Vec<Operation>)>>);

impl Recorder {
    fn of(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new((bytes, Vec::new()))))
    }

    fn done(&self) -> usize {
        self.0.lock().unwrap().1.len()
    }
}

impl Disk for Recorder {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().0.len() as u64)
    }

    fn read(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        let (disk, at) = (self.0.lock().unwrap(), at as usize);
        let bytes = disk.0.get(at..at + out.len());
        out.copy_from_slice(bytes.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        let (at, end) = (at as usize, at as usize + bytes.len());
        let length = disk.0.len().max(end.next_multiple_of(SECTOR));
        disk.0.resize(length, 0);
        disk.0[at..end].copy_from_slice(bytes);
        for sector in at / SECTOR..end.div_ceil(SECTOR) {
            let bytes = disk.0[sector * SECTOR..][..SECTOR].to_vec();
            disk.1.push(Operation::Write(sector, bytes));
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.lock().unwrap().1.push(Operation::Sync);
        Ok(())
    }
}

struct History {
    first: Vec<u8>,
    operations: Vec<Operation>,
    /// From this many operations on, a start finds this, and at most one change more.
    confirmed: Vec<(usize, Content)>,
}

impl History {
    fn may_hold(&self, done: usize) -> &[(usize, Content)] {
        let next = self.confirmed.partition_point(|(from, _)| *from <= done);
        &self.confirmed[next - 1..self.confirmed.len().min(next + 1)]
    }
}

/// One mark, many marks, refused ones and users, a moving horizon, with and without settling, and a new start in between.
fn history() -> History {
    let disk = Recorder::default();
    Log::create(disk.clone(), CAPACITY, [0; 16], &Content::default()).unwrap();
    let first = disk.0.lock().unwrap().0.clone();
    disk.0.lock().unwrap().1.clear();
    let mut confirmed = vec![(0, Content::default())];
    let mut now = 0;
    for run in 1..5_u8 {
        let (read, content) = Log::open(disk.clone()).unwrap();
        let mut log = read;
        log.start_half([run; 16], &content).unwrap();
        for step in 0..9_u64 {
            let count = if step == 5 { 23 } else { 1 + step % 3 };
            let mut entries: Vec<_> = (0..count)
                .map(|n| Entry::Mark(record(now + n, now + n)))
                .collect();
            if step % 4 == 1 {
                entries.push(Entry::Refused(RefusedRecord {
                    user: "alice".to_owned(),
                    record: record(now, now),
                }));
            }
            now += count;
            if !log.has_room(entries.len()) {
                let content = log.read().unwrap();
                log.start_half([run | 0x80; 16], &content).unwrap();
            }
            log.append(times(now, now.saturating_sub(30)), entries)
                .unwrap();
            confirmed.push((disk.done(), log.read().unwrap()));
            if step % 2 == 0 {
                log.settle().unwrap();
            }
        }
    }
    let operations = std::mem::take(&mut disk.0.lock().unwrap().1);
    History {
        first,
        operations,
        confirmed,
    }
}

fn expect_whole(image: Vec<u8>, may_hold: &[(usize, Content)], what: &str) {
    let (mut log, found) =
        Log::open(Recorder::of(image)).unwrap_or_else(|fault| panic!("{what}: {fault}"));
    assert!(
        may_hold.iter().any(|(_, content)| *content == found),
        "{what}: {found:?}"
    );
    log.start_half([0x77; 16], &found).unwrap();
    assert_eq!(log.read().unwrap(), found, "{what}");
    let next = record(1 << 40, 1 << 40);
    log.append(found.times, vec![Entry::Mark(next)]).unwrap();
    let after = log.read().unwrap().stored().marks;
    assert!(
        after.len() == found.stored().marks.len() + 1 && after.contains(&next),
        "{what}"
    );
}

#[test]
fn any_part_of_unsynced_sectors_keeps_confirmed_marks() {
    let history = history();
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    let (mut settled, mut unsynced, mut tried) = (history.first.clone(), Vec::new(), 0);
    let put = |image: &mut Vec<u8>, (sector, bytes): &(usize, Vec<u8>)| {
        image[sector * SECTOR..][..SECTOR].copy_from_slice(bytes);
    };
    for (done, operation) in (1..).zip(&history.operations) {
        match operation {
            Operation::Write(sector, bytes) => unsynced.push((*sector, bytes.clone())),
            Operation::Sync => {
                unsynced.iter().for_each(|write| put(&mut settled, write));
                unsynced.clear();
            }
        }
        // All of them, each alone missing, each alone there, and some by chance.
        let single = (0..unsynced.len()).map(|number| 1_u64 << (number % 64));
        let mut masks: Vec<u64> = single.flat_map(|bit| [bit, !bit]).collect();
        masks.extend([0, u64::MAX]);
        for _ in 0..8 {
            dice = dice
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            masks.push(dice ^ (dice >> 29));
        }
        for mask in masks {
            let mut image = settled.clone();
            let chosen = unsynced
                .iter()
                .enumerate()
                .filter(|(number, _)| mask >> (number % 64) & 1 == 1);
            chosen.for_each(|(_, write)| put(&mut image, write));
            let what = format!(
                "{done} operations, of the last {}: {mask:#x}",
                unsynced.len()
            );
            expect_whole(image, history.may_hold(done), &what);
            tried += 1;
        }
    }
    assert!(tried > 2_000, "{tried}");
}

/// After a settled change, a sector that lost its bytes, or has those of another, is noticed or does not matter.
#[test]
fn lost_or_strange_sector_loses_no_mark_silently() {
    let disk = Recorder::default();
    let mut log = Log::create(disk.clone(), CAPACITY, [1; 16], &Content::default()).unwrap();
    for n in 0..50 {
        log.append(times(n, 0), vec![Entry::Mark(record(n, n))])
            .unwrap();
    }
    log.settle().unwrap();
    let content = log.read().unwrap();
    let whole = disk.0.lock().unwrap().0.clone();
    let sectors = whole.len() / SECTOR;
    let mut refused = 0;
    for sector in 0..sectors {
        let place = sector * SECTOR..(sector + 1) * SECTOR;
        let mut lost = whole.clone();
        lost[place.clone()].fill(0);
        let mut strange = whole.clone();
        strange.copy_within(
            (sector + 1) % sectors * SECTOR..((sector + 1) % sectors) * SECTOR + SECTOR,
            place.start,
        );
        let mut flipped = whole.clone();
        flipped[place.start + sector % SECTOR] ^= 0x10;
        for (what, image) in [("lost", lost), ("strange", strange), ("flipped", flipped)] {
            match Log::open(Recorder::of(image)) {
                Ok((_, found)) => assert_eq!(found, content, "{what} sector {sector}"),
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 30, "{refused}");
    for length in [
        0,
        1,
        511,
        512,
        4_096,
        5_000,
        whole.len() - SECTOR,
        whole.len() - 1,
    ] {
        let cut = Recorder::of(whole[..length].to_vec());
        assert!(Log::open(cut).is_err(), "{length}");
    }
    for from in (4_096..whole.len()).step_by(97) {
        let mut zeroed = whole.clone();
        zeroed[from..].fill(0);
        if let Ok((_, found)) = Log::open(Recorder::of(zeroed)) {
            assert_eq!(found, content, "zeros from {from}");
        }
    }
}
