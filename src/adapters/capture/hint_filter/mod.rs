//! The hint filter: the kernel drops datagrams with a wrong length or an unknown hint, and copies of used packets, before
//! user space sees them.
//!
//! It is an eBPF program on the packet sockets with a map of hints and one of used packets. The monitor loads and
//! attaches it, which needs CAP_BPF. The engine has the keys and updates the maps. Each engine has its own maps. Without the hint filter the classic filter remains, and the
//! gate does the same checks (`proto/README.md`, section 6, steps 1, 2 and 8).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use postern_proto::Step;

use crate::adapters::clock;
use crate::core::gate::HintTable;

mod kernel;
mod program;

use kernel::{Map, MapKind, short};

/// Used packets whose copies the kernel drops. Later copies have a hint of the past. If there are more, the gate drops the copies.
const USED_PACKETS: u32 = 16_384;

/// The monitor's half: a loaded program and its maps.
#[derive(Debug)]
pub struct HintFilter {
    program: OwnedFd,
    hints: Map,
    counters: Map,
    used: Map,
}

impl HintFilter {
    /// Loads a program for these knock ports, with room for this many hints. It drops every packet until the map has
    /// hints; with `fwknop` what looks like a packet of fwknop passes nevertheless.
    pub fn load(ports: &[u16], hints: u32, fwknop: bool) -> io::Result<Self> {
        let hints = Map::new(MapKind::Hash, hints)?;
        let counters = Map::new(MapKind::Array, program::COUNTERS)?;
        let used = Map::new(MapKind::LruHash, USED_PACKETS)?;
        let load = |used| {
            let maps = program::Maps {
                hints: hints.descriptor(),
                counters: counters.descriptor(),
                used,
            };
            kernel::load(&program::program(ports, &maps, fwknop))
        };
        // A kernel before 5.8 gives the time only to programs under the GPL.
        let program = load(Some(used.descriptor())).or_else(|_| load(None))?;
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

    /// The maps for the engine: for [`Hints::adopt`], [`FilterCounters::adopt`] and [`UsedPackets::adopt`].
    pub fn maps(&self) -> [BorrowedFd<'_>; 3] {
        [&self.hints, &self.counters, &self.used].map(Map::descriptor)
    }
}

/// The engine's half: the map of hints, which follows the gate's hint table.
#[derive(Debug)]
pub struct Hints {
    map: Map,
    /// The steps in the map, each with the hints of all users.
    steps: Vec<(Step, Vec<[u8; 8]>)>,
}

/// The counters of what the program dropped.
#[derive(Debug)]
pub struct FilterCounters(Map);

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

/// Packets that can never open again: every copy has the same bytes at one place ([`program::IDENTITY_AT`]). In a knock
/// these are the mark. Only who knows a user's keys can make a packet that the gate uses, and no other packet has its bytes.
#[derive(Debug)]
pub struct UsedPackets(Map);

impl Hints {
    /// Adopts the first of [`HintFilter::maps`].
    pub fn adopt(map: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            map: Map::adopt(map, MapKind::Hash)?,
            steps: Vec::new(),
        })
    }

    /// Makes the map equal to this table. Call it before the gate has the table. New steps are added before old ones
    /// are removed, so that no knock is lost in between.
    ///
    /// # Errors
    /// Fails with the kernel's error. The map then lacks hints, and another filter must replace the program.
    pub fn update(&mut self, table: &HintTable) -> io::Result<()> {
        for (step, hints) in table.by_step() {
            if self.steps.iter().any(|(known, _)| *known == step) {
                continue;
            }
            let hints: Vec<[u8; 8]> = hints.collect();
            for hint in &hints {
                self.map.insert(short(*hint), step.0)?;
            }
            self.steps.push((step, hints));
        }
        let (keep, over): (Vec<_>, Vec<_>) = std::mem::take(&mut self.steps)
            .into_iter()
            .partition(|(known, _)| table.by_step().any(|(step, _)| step == *known));
        self.steps = keep;
        for (step, hints) in over {
            for hint in hints {
                // the same hint of another user at a later step stays
                if self.map.get(short(hint))? == Some(step.0) {
                    self.map.remove(short(hint))?;
                }
            }
        }
        Ok(())
    }
}

impl FilterCounters {
    /// Adopts the second of [`HintFilter::maps`].
    pub fn adopt(map: OwnedFd) -> io::Result<Self> {
        Map::adopt(map, MapKind::Array).map(Self)
    }

    /// What was dropped so far.
    pub fn count(&self) -> io::Result<Dropped> {
        let count = |index: u32| {
            io::Result::Ok(self.0.get(short(index.to_ne_bytes()))?.unwrap_or_default())
        };
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
        Map::adopt(map, MapKind::LruHash).map(Self)
    }

    /// The gate has just used this packet: it remembers its mark. The kernel counts copies of it.
    pub fn used_now(&self, payload: &[u8]) -> io::Result<()> {
        let now = u64::try_from(clock::monotonic().as_nanos()).unwrap_or(u64::MAX);
        self.insert(payload, now)
    }

    /// The gate had used this packet before: copies of it are replays.
    pub fn used_before(&self, payload: &[u8]) -> io::Result<()> {
        self.insert(payload, 0)
    }

    fn insert(&self, payload: &[u8], time: u64) -> io::Result<()> {
        let identity = payload.get(program::IDENTITY_AT..);
        let identity = identity.and_then(|rest| rest.first_chunk());
        identity.map_or(Ok(()), |identity| self.0.insert(*identity, time))
    }
}
