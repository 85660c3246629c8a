//! One record of the log: 128 bytes with a check of their own.
//!
//! | bytes | content |
//! |---|---|
//! | 0–7 | check: the first 8 bytes of SHA-256(seal ‖ position ‖ bytes 8–127) |
//! | 8–10, 11–13 | how many records of the same change are before and behind this one |
//! | 14 | kind |
//! | 15 | length of the name |
//! | 16–31 | clock floor, horizon |
//! | 32–63 | by kind |
//! | 64–127 | name of the user |
//!
//! Numbers are big-endian, times are Unix milliseconds. 512, the size of a disk's sector, is a multiple of 128: a power cut leaves
//! each record whole or absent. The seal is random and of one half of the file only, so no record of an earlier use counts.

use postern_proto::Mark;
use sha2::{Digest, Sha256};

use crate::model::mark::{
    MarkRecord, RefusedRecord, RunRecord, StoredTimes, UsedCodes, UserRecord,
};
use crate::model::time::Timestamp;

pub(super) const RECORD: usize = 128;
/// The most records of one change.
pub(super) const CHANGE_MAX: u32 = 0xff_ffff;
const CHECK: usize = 8;
const NAME: usize = 64;

pub(super) type Seal = [u8; 16];

/// What a record says beside the times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// Nothing.
    Times,
    Mark(MarkRecord),
    Refused(RefusedRecord),
    User(UserRecord),
    Run(RunRecord),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub before: u32,
    pub behind: u32,
    pub times: StoredTimes,
    pub entry: Entry,
}

impl Record {
    /// `None` if the name is longer than any user's, or the change is too large.
    pub(super) fn encode(&self, seal: &Seal, position: u32) -> Option<[u8; RECORD]> {
        let (kind, name, body) = match &self.entry {
            Entry::Times => (1, "", [0; 32]),
            Entry::Mark(record) => (2, "", mark_body(record)),
            Entry::Refused(refused) => (3, refused.user.as_str(), mark_body(&refused.record)),
            Entry::User(user) => (4, user.user.as_str(), user_body(user)),
            Entry::Run(run) => {
                let RunRecord { user, mark, used } = run;
                let record = MarkRecord {
                    mark: *mark,
                    timestamp: *used,
                    admitted: *used,
                };
                (5, user.as_str(), mark_body(&record))
            }
        };
        let mut out = Writer::new([0; RECORD]);
        out.put(&[0; CHECK])?;
        out.put(&short(self.before)?)?;
        out.put(&short(self.behind)?)?;
        out.put(&[kind, u8::try_from(name.len()).ok()?])?;
        out.put(&millis(self.times.floor))?;
        out.put(&millis(self.times.horizon))?;
        out.put(&body)?;
        let mut padded = [0; NAME];
        padded
            .get_mut(..name.len())?
            .copy_from_slice(name.as_bytes());
        out.put(&padded)?;
        let check = check(seal, position, &out.bytes);
        out.bytes.first_chunk_mut().map(|first| *first = check)?;
        Some(out.bytes)
    }

    /// `None` if the check or anything else is wrong.
    pub(super) fn decode(bytes: &[u8; RECORD], seal: &Seal, position: u32) -> Option<Self> {
        if bytes.first_chunk() != Some(&check(seal, position, bytes)) {
            return None;
        }
        let mut rest = Reader(bytes.get(CHECK..)?);
        let (before, behind) = (rest.short()?, rest.short()?);
        let [kind, length] = rest.take()?;
        let times = StoredTimes {
            floor: rest.time()?,
            horizon: rest.time()?,
        };
        let mut body = Reader(rest.0.get(..32)?);
        let name = rest.0.get(32..)?.get(..usize::from(length))?;
        let name = || std::str::from_utf8(name).ok().map(str::to_owned);
        let entry = match kind {
            1 => Entry::Times,
            2 => Entry::Mark(body.mark()?),
            3 => Entry::Refused(RefusedRecord {
                user: name()?,
                record: body.mark()?,
            }),
            4 => body.user(name()?).map(Entry::User)?,
            5 => {
                let record = body.mark()?;
                Entry::Run(RunRecord {
                    user: name()?,
                    mark: record.mark,
                    used: record.timestamp,
                })
            }
            _ => return None,
        };
        Some(Self {
            before,
            behind,
            times,
            entry,
        })
    }
}

fn check(seal: &Seal, position: u32, bytes: &[u8; RECORD]) -> [u8; CHECK] {
    let mut hash = Sha256::new();
    hash.update(seal);
    hash.update(position.to_be_bytes());
    hash.update(bytes.get(CHECK..).unwrap_or_default());
    let hash: [u8; 32] = hash.finalize().into();
    let mut first = [0; CHECK];
    first.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    first
}

/// The low 24 bits, if they are all.
fn short(number: u32) -> Option<[u8; 3]> {
    let [high, low @ ..] = number.to_be_bytes();
    (high == 0).then_some(low)
}

fn millis(time: Timestamp) -> [u8; 8] {
    time.as_millis().to_be_bytes()
}

fn mark_body(record: &MarkRecord) -> [u8; 32] {
    let mut body = Writer::new([0; 32]);
    // 16, 8 and 8 bytes: they fit.
    let _ = body.put(&record.mark.0);
    let _ = body.put(&millis(record.timestamp));
    let _ = body.put(&millis(record.admitted));
    body.bytes
}

const HAS_STEP: u8 = 1;
const V4: u8 = 2;
const V6: u8 = 4;

fn user_body(user: &UserRecord) -> [u8; 32] {
    let codes = user.codes;
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    let flags = flag(codes.step.is_some(), HAS_STEP) | flag(codes.v4, V4) | flag(codes.v6, V6);
    let mut body = Writer::new([0; 32]);
    // 8, 8, 8 and 1 bytes: they fit.
    let _ = body.put(&millis(user.horizon));
    let _ = body.put(&millis(codes.clean));
    let _ = body.put(&codes.step.unwrap_or_default().to_be_bytes());
    let _ = body.put(&[flags]);
    body.bytes
}

/// Writes one field behind the other.
struct Writer<const N: usize> {
    bytes: [u8; N],
    used: usize,
}

impl<const N: usize> Writer<N> {
    fn new(bytes: [u8; N]) -> Self {
        Self { bytes, used: 0 }
    }

    fn put(&mut self, field: &[u8]) -> Option<()> {
        let end = self.used.checked_add(field.len())?;
        self.bytes
            .get_mut(self.used..end)
            .map(|place| place.copy_from_slice(field))?;
        self.used = end;
        Some(())
    }
}

/// Reads one field behind the other.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn short(&mut self) -> Option<u32> {
        let [a, b, c] = self.take()?;
        Some(u32::from_be_bytes([0, a, b, c]))
    }

    fn time(&mut self) -> Option<Timestamp> {
        self.take()
            .map(u64::from_be_bytes)
            .map(Timestamp::from_millis)
    }

    fn mark(&mut self) -> Option<MarkRecord> {
        Some(MarkRecord {
            mark: Mark(self.take()?),
            timestamp: self.time()?,
            admitted: self.time()?,
        })
    }

    fn user(&mut self, user: String) -> Option<UserRecord> {
        let (horizon, clean) = (self.time()?, self.time()?);
        let step = u64::from_be_bytes(self.take()?);
        let [flags] = self.take()?;
        let is = |bit| flags & bit != 0;
        let codes = UsedCodes {
            step: is(HAS_STEP).then_some(step),
            v4: is(V4),
            v6: is(V6),
            clean,
        };
        Some(UserRecord {
            user,
            horizon,
            codes,
        })
    }
}
