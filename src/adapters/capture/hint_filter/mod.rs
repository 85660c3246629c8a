//! The hint filter: the kernel drops what no user's key can have made, before it costs user space anything.
//!
//! Owns an eBPF program on the packet sockets and the map of hints that it looks in. The monitor loads and attaches it, which
//! needs CAP_BPF; the engine, which has the keys, keeps the map. Where a kernel or a host does not have it, the classic filter
//! stands alone and the gate does the same work (PROTOCOL section 6, steps 1 and 2).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use postern_proto::Step;

use crate::core::gate::HintTable;

mod kernel;
mod program;

use kernel::{Key, Kind, Map};

/// The monitor's half: a program that is loaded, and its two maps.
#[derive(Debug)]
pub struct HintFilter {
    program: OwnedFd,
    hints: Map,
    counters: Map,
}

impl HintFilter {
    /// Loads a program for these knock ports, with room for this many hints. It drops every packet until hints are put in.
    ///
    /// # Errors
    /// What the kernel says: `PermissionDenied` without CAP_BPF, others where it lacks eBPF.
    pub fn load(ports: &[u16], hints: u32) -> io::Result<Self> {
        let (hints, counters) = (
            Map::new(Kind::Hash, hints)?,
            Map::new(Kind::Array, program::COUNTERS)?,
        );
        let program = kernel::load(&program::program(
            ports,
            hints.descriptor(),
            counters.descriptor(),
        ))?;
        Ok(Self {
            program,
            hints,
            counters,
        })
    }

    /// From now on it decides what this packet socket hears.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn attach(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        kernel::attach(socket, self.program.as_fd())
    }

    /// What the engine needs of it, for [`Hints::adopt`] and [`Drops::adopt`].
    pub fn maps(&self) -> [BorrowedFd<'_>; 2] {
        [self.hints.descriptor(), self.counters.descriptor()]
    }
}

/// The engine's half: the map of hints, kept as the gate's hint table is.
#[derive(Debug)]
pub struct Hints {
    map: Map,
    /// What is in the map: each step with the hints of all users.
    held: Vec<(Step, Vec<[u8; 8]>)>,
}

/// What the program has dropped.
#[derive(Debug)]
pub struct Drops(Map);

/// What the program has dropped, datagrams to a knock port alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Step 1: of no knock's length.
    pub length: u64,
    /// Step 2: with a hint that is nobody's.
    pub unknown_hint: u64,
}

impl Hints {
    /// Takes over the first of [`HintFilter::maps`].
    ///
    /// # Errors
    /// When it is none.
    pub fn adopt(map: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            map: Map::adopt(map, Kind::Hash)?,
            held: Vec::new(),
        })
    }

    /// Lets through the hints of this table. Those of steps that are new are put in before those of steps that are over are taken
    /// out, so that no knock is lost in between. Comes before the gate has the table.
    ///
    /// # Errors
    /// What the kernel says; the map then holds too little, and something else must stand in for the filter.
    pub fn hold(&mut self, table: &HintTable) -> io::Result<()> {
        for (step, hints) in table.by_step() {
            if self.held.iter().any(|(held, _)| *held == step) {
                continue;
            }
            let hints: Vec<[u8; 8]> = hints.collect();
            for hint in &hints {
                self.map.put(Key::Bytes(*hint), step.0)?;
            }
            self.held.push((step, hints));
        }
        let (keep, over): (Vec<_>, Vec<_>) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|(held, _)| table.by_step().any(|(step, _)| step == *held));
        self.held = keep;
        for (step, hints) in over {
            for hint in hints {
                // One that is also the hint of another user at a later step stays.
                if self.map.value(Key::Bytes(hint))? == Some(step.0) {
                    self.map.take_out(Key::Bytes(hint))?;
                }
            }
        }
        Ok(())
    }
}

impl Drops {
    /// Takes over the second of [`HintFilter::maps`].
    ///
    /// # Errors
    /// When it is none.
    pub fn adopt(map: OwnedFd) -> io::Result<Self> {
        Map::adopt(map, Kind::Array).map(Self)
    }

    /// What was dropped so far.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn count(&self) -> io::Result<Dropped> {
        let count = |place| {
            self.0
                .value(Key::Place(place))
                .map(Option::unwrap_or_default)
        };
        Ok(Dropped {
            length: count(program::WRONG_LENGTH)?,
            unknown_hint: count(program::UNKNOWN_HINT)?,
        })
    }
}
