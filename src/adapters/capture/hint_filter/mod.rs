//! The hint filter: the kernel drops datagrams with a wrong length or an unknown hint, and copies of used packets, before
//! user space sees them.
//!
//! It is an eBPF program on the packet sockets with a map of hints and one of used packets. The monitor loads and
//! attaches it, which needs CAP_BPF. The engine has the keys and updates the maps. Each engine has its own maps. Without
//! the hint filter the classic filter remains, and the gate does the same checks (`proto/README.md`, section 6, steps 1, 2 and 8).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use postern_proto::limits::MARK_LEN;

use crate::adapters::clock;
use crate::core::gate::HintTable;

mod buckets;
mod kernel;
mod program;

use kernel::{Buckets, Counters, LruHash, Map};

/// Buckets of one system call: 256 kB.
const BATCH: u32 = 4096;

/// Used packets whose copies the kernel drops. Later copies have a hint of the past. If there are more, the gate drops the copies.
const USED_PACKETS: u32 = 16_384;

/// The monitor's half: a loaded program and its maps.
#[derive(Debug)]
pub struct HintFilter {
    program: OwnedFd,
    hints: Map<Buckets>,
    counters: Map<Counters>,
    /// `None` if the program does not look it up.
    used: Option<Map<LruHash>>,
}

impl HintFilter {
    /// Loads a program for these knock ports, with room for this many hints. It drops every packet until the map has
    /// hints; with `fwknop` what looks like a packet of fwknop passes nevertheless.
    pub fn load(ports: &[u16], hints: u32, fwknop: bool) -> io::Result<Self> {
        let hints = Map::new(buckets::needed(hints))?;
        let counters = Map::new(program::COUNTERS)?;
        let used = Map::new(USED_PACKETS)?;
        let load = |used| {
            let maps = program::Maps {
                hints: &hints,
                counters: counters.descriptor(),
                used,
            };
            kernel::load(&program::program(ports, &maps, fwknop))
        };
        // A kernel before 5.8 gives the time only to programs under the GPL.
        let (program, used) = match load(Some(used.descriptor())) {
            Ok(program) => (program, Some(used)),
            Err(_) => (load(None)?, None),
        };
        Ok(Self {
            program,
            hints,
            counters,
            used,
        })
    }

    /// Puts the program on a packet socket, in place of its filter.
    pub fn attach(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        kernel::attach(socket, self.program.as_fd())
    }

    /// The maps for the engine: for [`Hints::adopt`], [`FilterCounters::adopt`] and, if the kernel can do it,
    /// [`UsedPackets::adopt`].
    pub fn maps(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let both = [self.hints.descriptor(), self.counters.descriptor()];
        both.into_iter()
            .chain(self.used.as_ref().map(Map::descriptor))
    }
}

/// The engine's half: the map of hints, which follows the gate's hint table.
#[derive(Debug)]
pub struct Hints(Map<Buckets>);

/// The counters of what the program dropped.
#[derive(Debug)]
pub struct FilterCounters(Map<Counters>);

/// Datagrams to a knock port that the program dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Step 1: not the length of a knock.
    pub length: u64,
    /// Step 2: a hint of no user.
    pub unknown_hint: u64,
    /// Step 8: a copy of a used packet within a second.
    pub duplicate: u64,
    /// Step 8: a later copy.
    pub replay: u64,
}

/// Packets that can never open again: every copy has the same bytes at one place (`IDENTITY_AT` in `program.rs`). In a knock
/// these are the mark. Only who knows a user's keys can make a packet that the gate uses, and no other packet has its bytes.
#[derive(Debug)]
pub struct UsedPackets {
    map: Map<LruHash>,
    /// Those of which the kernel does not know yet, with their times.
    new: Vec<([u8; MARK_LEN], u64)>,
}

impl Hints {
    /// Adopts the first of [`HintFilter::maps`].
    pub fn adopt(map: OwnedFd) -> io::Result<Self> {
        Map::adopt(map).map(Self)
    }

    /// Makes the map equal to this table, bucket by bucket, so that a hint of the last table and of this one stays there. The program
    /// can miss it only while its bucket is being written. Call this before the gate has the table. Returns the number of system calls.
    ///
    /// # Errors
    /// Fails with the kernel's error. The map then lacks hints, and another filter must replace the program.
    pub fn update(&mut self, table: &HintTable) -> io::Result<usize> {
        let length = self.0.length();
        let mut calls: usize = 0;
        let mut first = 0;
        while first < length {
            let end = first.saturating_add(BATCH).min(length);
            let buckets = buckets::filled(table, first..end, length);
            calls = calls.saturating_add(self.0.set(first, &buckets)?);
            first = end;
        }
        Ok(calls)
    }
}

impl FilterCounters {
    /// Adopts the second of [`HintFilter::maps`].
    pub fn adopt(map: OwnedFd) -> io::Result<Self> {
        Map::adopt(map).map(Self)
    }

    /// What was dropped so far.
    pub fn count(&self) -> io::Result<Dropped> {
        let count = |index| self.0.get(index);
        Ok(Dropped {
            length: count(program::WRONG_LENGTH)?,
            unknown_hint: count(program::UNKNOWN_HINT)?,
            duplicate: count(program::DUPLICATE)?,
            replay: count(program::REPLAY)?,
        })
    }
}

impl UsedPackets {
    /// Adopts the third of [`HintFilter::maps`].
    pub fn adopt(map: OwnedFd) -> io::Result<Self> {
        let map = Map::adopt(map)?;
        let new = Vec::new();
        Ok(Self { map, new })
    }

    /// The gate has just used this packet: it remembers its mark. The kernel counts copies of it.
    pub fn used_now(&mut self, payload: &[u8]) {
        let now = u64::try_from(clock::monotonic().as_nanos()).unwrap_or(u64::MAX);
        self.add(payload, now);
    }

    /// The gate had used this packet before: copies of it are replays.
    pub fn used_before(&mut self, payload: &[u8]) {
        self.add(payload, 0);
    }

    fn add(&mut self, payload: &[u8], time: u64) {
        let identity = payload.get(program::IDENTITY_AT..);
        let identity = identity.and_then(|rest| rest.first_chunk());
        self.new.extend(identity.map(|identity| (*identity, time)));
    }

    /// From now on the kernel drops copies of all packets that were added. If it has no room, the gate drops them.
    pub fn tell_kernel(&mut self) {
        for (identity, time) in self.new.drain(..) {
            let _ = self.map.insert(identity, time);
        }
    }
}
