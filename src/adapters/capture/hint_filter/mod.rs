//! The hint filter: the kernel drops datagrams with a wrong length or an unknown hint, before user space sees them.
//!
//! It is an eBPF program on the packet sockets with a map of hints. The monitor loads and attaches it, which needs
//! CAP_BPF. The engine has the keys and updates the map. Without the hint filter the classic filter remains, and the
//! gate does the same checks (`proto/README.md`, section 6, steps 1 and 2).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use postern_proto::Step;

use crate::core::gate::HintTable;

mod kernel;
mod program;

use kernel::{Map, MapKind};

/// The monitor's half: a loaded program and its two maps.
#[derive(Debug)]
pub struct HintFilter {
    program: OwnedFd,
    hints: Map,
    counters: Map,
}

impl HintFilter {
    /// Loads a program for these knock ports, with room for this many hints. It drops every packet until the map has
    /// hints; with `fwknop` what looks like a packet of fwknop passes nevertheless.
    pub fn load(ports: &[u16], hints: u32, fwknop: bool) -> io::Result<Self> {
        let hints = Map::new(MapKind::Hash, hints)?;
        let counters = Map::new(MapKind::Array, program::COUNTERS)?;
        let program = program::program(ports, hints.descriptor(), counters.descriptor(), fwknop);
        Ok(Self {
            program: kernel::load(&program)?,
            hints,
            counters,
        })
    }

    /// Puts the program on a packet socket, in place of its filter.
    pub fn attach(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        kernel::attach(socket, self.program.as_fd())
    }

    /// The maps for the engine: for [`Hints::adopt`] and [`FilterCounters::adopt`].
    pub fn maps(&self) -> [BorrowedFd<'_>; 2] {
        [self.hints.descriptor(), self.counters.descriptor()]
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
}

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
                self.map.insert(*hint, step.0)?;
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
                if self.map.get(hint)? == Some(step.0) {
                    self.map.remove(hint)?;
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
        let count = |index| io::Result::Ok(self.0.get(kernel::index(index))?.unwrap_or_default());
        Ok(Dropped {
            length: count(program::WRONG_LENGTH)?,
            unknown_hint: count(program::UNKNOWN_HINT)?,
        })
    }
}
