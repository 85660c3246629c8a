//! The log: a header and two halves of records. One half is in use.
//!
//! | bytes | content |
//! |---|---|
//! | 0–511 and 512–1023 | two copies of the header, written in turn |
//! | to 4095 | zero |
//! | then | records of the first half, then of the second, each half as many as the header says |
//!
//! A change is one write and one fdatasync at the end of the half in use. When the half is full, and at each start, the content goes
//! to the other half under a new seal, and then the header says so. So a half is only ever written by one process, from its start
//! to its end, and a sync that failed is never built upon.
//!
//! A change that was not yet durable may be there in part after a crash: then it is the last one, and it does not count. Any other
//! fault in the half is damage. [`Log::settle`] records how far the half is durable, so that damage to the last change is noticed too.

use std::io;

use sha2::{Digest, Sha256};

use super::content::Content;
use super::record::{Entry, RECORD, Record, Seal};
use crate::adapters::store::StoreFault;
use crate::model::mark::StoredTimes;

const MAGIC: &[u8; 16] = b"postern marks 3\n";
const FORMAT: u64 = 3;
const SECTOR: usize = 512;
const HEADER: u64 = 4096;
/// How much is read or zeroed at once.
const PART: usize = 1 << 16;

/// Where the log is. A file, or a recorder in tests.
pub(super) trait Disk {
    fn len(&self) -> io::Result<u64>;
    fn read(&self, at: u64, out: &mut [u8]) -> io::Result<()>;
    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// What was written survives a power cut.
    fn sync(&self) -> io::Result<()>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    /// Rises with each change of the half, whose number is its last bit.
    generation: u64,
    seal: Seal,
    /// Records in a half.
    capacity: u32,
    /// So many records of the half are durable for certain.
    settled: u32,
}

impl Header {
    fn encode(&self) -> [u8; SECTOR] {
        let mut out = [0; SECTOR];
        let fields = MAGIC
            .iter()
            .copied()
            .chain(self.generation.to_be_bytes())
            .chain(self.seal)
            .chain(self.capacity.to_be_bytes())
            .chain(self.settled.to_be_bytes());
        out.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        let check = sha256(out.get(..Self::USED).unwrap_or_default());
        let place = out.iter_mut().skip(Self::USED);
        place.zip(check).for_each(|(to, from)| *to = from);
        out
    }

    const USED: usize = 48;

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (fields, rest) = bytes.split_at_checked(Self::USED)?;
        let (check, zeros) = rest.split_first_chunk::<32>()?;
        if *check != sha256(fields) || zeros.iter().any(|&byte| byte != 0) {
            return None;
        }
        let (magic, rest) = fields.split_first_chunk::<16>()?;
        let (generation, rest) = rest.split_first_chunk()?;
        let (seal, rest) = rest.split_first_chunk()?;
        let (capacity, settled) = rest.split_first_chunk()?;
        (magic == MAGIC).then_some(Self {
            generation: u64::from_be_bytes(*generation),
            seal: *seal,
            capacity: u32::from_be_bytes(*capacity),
            settled: u32::from_be_bytes(*settled.first_chunk()?),
        })
    }

    fn place(&self, position: u32) -> u64 {
        let before = (self.generation & 1) * u64::from(self.capacity) + u64::from(position);
        HEADER.saturating_add(before.saturating_mul(RECORD as u64))
    }

    fn file_length(capacity: u32) -> u64 {
        HEADER.saturating_add(u64::from(capacity).saturating_mul(2 * RECORD as u64))
    }
}

#[derive(Debug)]
pub(super) struct Log<D> {
    disk: D,
    header: Header,
    /// Which copy of the header is the newest.
    copy: u64,
    /// Records in the half in use.
    used: u32,
    /// Records that this half had at its start.
    begun: u32,
    times: StoredTimes,
    /// Memory of the last change, for the next one.
    bytes: Vec<u8>,
}

/// So many records come in one burst.
const KEPT: usize = 64 * RECORD;

impl<D: Disk> Log<D> {
    /// Makes a log on an empty disk with room for `capacity` records.
    pub(super) fn create(
        disk: D,
        capacity: u32,
        seal: Seal,
        content: &Content,
    ) -> Result<Self, StoreFault> {
        let header = Header {
            generation: 0,
            seal,
            capacity,
            settled: 0,
        };
        // Real zeros: a write into a hole, or behind the end, would change the file's map, and the sync would take longer.
        let zeros = vec![0; PART];
        let mut at = 0;
        let length = Header::file_length(capacity);
        while at < length {
            let left = usize::try_from(length - at).unwrap_or(usize::MAX);
            let part = zeros.get(..left).unwrap_or(&zeros);
            disk.write(at, part)?;
            at = at.saturating_add(part.len() as u64);
        }
        let mut log = Self {
            disk,
            header,
            copy: 0,
            used: 0,
            begun: 0,
            times: StoredTimes::default(),
            bytes: Vec::new(),
        };
        log.fill(header, content)?;
        Ok(log)
    }

    /// Reads the log.
    pub(super) fn open(disk: D) -> Result<(Self, Content), StoreFault> {
        let mut newest: Option<(Header, u64)> = None;
        let mut other_format = None;
        for copy in [0, 1] {
            let mut bytes = [0; SECTOR];
            disk.read(copy * SECTOR as u64, &mut bytes)?;
            other_format = other_format.or(format_of(&bytes));
            let age = |header: &Header| (header.generation, header.settled);
            let read = Header::decode(&bytes);
            if let Some(header) =
                read.filter(|it| newest.is_none_or(|(old, _)| age(&old) < age(it)))
            {
                newest = Some((header, copy));
            }
        }
        let (header, copy) = match (newest, other_format) {
            (Some(newest), _) => newest,
            (None, Some(found)) => {
                return Err(StoreFault::Format {
                    found,
                    known: FORMAT,
                });
            }
            (None, None) => return Err(damaged("its header")),
        };
        if disk.len()? != Header::file_length(header.capacity) {
            return Err(damaged("its length"));
        }
        let mut log = Self {
            disk,
            header,
            copy,
            used: 0,
            begun: 0,
            times: StoredTimes::default(),
            bytes: Vec::new(),
        };
        let content = log.read()?;
        log.times = content.times;
        Ok((log, content))
    }

    /// What the half in use says.
    pub(super) fn read(&mut self) -> Result<Content, StoreFault> {
        let mut content = Content::default();
        let mut change = Vec::new();
        let (mut whole, mut position, mut gap) = (0_u32, 0_u32, false);
        let mut part = vec![0; PART];
        while position < self.header.capacity {
            let left = (self.header.capacity - position) as usize * RECORD;
            let part = part.get_mut(..left.min(PART)).unwrap_or_default();
            self.disk.read(self.header.place(position), part)?;
            for bytes in part.as_chunks::<RECORD>().0 {
                let here = position;
                position = position.saturating_add(1);
                let is_empty = bytes.iter().all(|&byte| byte == 0);
                let read = || Record::decode(bytes, &self.header.seal, here);
                let record = if is_empty { None } else { read() };
                let Some(record) = record else {
                    gap = true;
                    continue;
                };
                if here.checked_sub(record.before) != Some(whole) {
                    // Its change was begun after the one with the gap was durable.
                    return Err(damaged("a record"));
                }
                if gap {
                    continue;
                }
                change.push(record.entry);
                if record.behind == 0 {
                    content.apply(record.times, change.drain(..));
                    whole = position;
                }
            }
        }
        if whole < self.header.settled {
            return Err(damaged("its last records"));
        }
        self.used = whole;
        Ok(content)
    }

    /// Whether the half in use has room for so many records.
    pub(super) fn has_room(&self, records: usize) -> bool {
        let free = self.header.capacity.saturating_sub(self.used);
        records <= free as usize
    }

    /// Whether a half has room for so many records.
    pub(super) fn can_hold(&self, records: usize) -> bool {
        records <= self.header.capacity as usize
    }

    /// Whether a half has room for so many records twice, so that it is changed rarely.
    pub(super) fn can_hold_twice(&self, records: usize) -> bool {
        records <= self.header.capacity as usize / 2
    }

    /// Adds a change at the end. After `Ok` it is durable. Floor and horizon never move back.
    pub(super) fn append(
        &mut self,
        times: StoredTimes,
        entries: Vec<Entry>,
    ) -> Result<(), StoreFault> {
        let times = times.latest(self.times);
        self.put(times, entries)?;
        Ok(self.disk.sync()?)
    }

    fn put(&mut self, times: StoredTimes, mut entries: Vec<Entry>) -> Result<(), StoreFault> {
        if entries.is_empty() {
            entries.push(Entry::Times);
        }
        if !self.has_room(entries.len()) {
            return Err(StoreFault::System("the log has no room".to_owned()));
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        let too_large = || StoreFault::System("a change is too large for the log".to_owned());
        let count = u32::try_from(entries.len()).map_err(|_| too_large())?;
        let mut position = self.used;
        for (before, entry) in (0..count).zip(entries) {
            let record = Record {
                before,
                behind: count - before - 1,
                times,
                entry,
            };
            let record = record.encode(&self.header.seal, position);
            bytes.extend(record.ok_or_else(too_large)?);
            position = position.saturating_add(1);
        }
        self.disk.write(self.header.place(self.used), &bytes)?;
        // Rarely many: their memory is not kept.
        if bytes.len() <= KEPT {
            self.bytes = bytes;
        }
        (self.used, self.times) = (position, times);
        Ok(())
    }

    /// Moves to the other half, under a new seal, with this content.
    pub(super) fn start_half(&mut self, seal: Seal, content: &Content) -> Result<(), StoreFault> {
        let generation = self.header.generation.saturating_add(1);
        self.fill(
            Header {
                generation,
                seal,
                ..self.header
            },
            content,
        )
    }

    fn fill(&mut self, header: Header, content: &Content) -> Result<(), StoreFault> {
        (self.header, self.used) = (header, 0);
        self.put(content.times, content.entries())?;
        self.begun = self.used;
        self.disk.sync()?;
        // Both copies, so that damage to one does not lead back to the other half.
        self.settle()?;
        self.write_header()
    }

    /// Writes down that all is durable. Called when no knock waits.
    pub(super) fn settle(&mut self) -> Result<(), StoreFault> {
        self.header.settled = self.used;
        self.write_header()
    }

    /// Whether it is written down that all is durable.
    pub(super) fn is_settled(&self) -> bool {
        self.header.settled == self.used
    }

    fn write_header(&mut self) -> Result<(), StoreFault> {
        self.copy ^= 1;
        let at = self.copy * SECTOR as u64;
        self.disk.write(at, &self.header.encode())?;
        Ok(self.disk.sync()?)
    }

    /// Whether a quiet moment is the time to change the half: more than half of its room is used, and an eighth of its room since its
    /// start. On a full disk, a half has many records at its start, and a change would write them all again.
    pub(super) fn is_half_full(&self) -> bool {
        let Header { capacity, .. } = self.header;
        self.used > capacity / 2 && self.used.saturating_sub(self.begun) >= capacity / 8
    }
}

/// The format of a file that only a later release can read.
fn format_of(bytes: &[u8]) -> Option<u64> {
    let number = bytes
        .strip_prefix(b"postern marks ")?
        .split(|&byte| byte == b'\n')
        .next()?;
    let number = std::str::from_utf8(number).ok()?.parse().ok()?;
    (number != FORMAT).then_some(number)
}

fn damaged(what: &str) -> StoreFault {
    StoreFault::Damaged(format!("{what} cannot be read"))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
