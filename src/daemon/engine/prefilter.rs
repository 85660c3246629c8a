//! The engine's half of the kernel's hint filter: its map follows the gate's hint tables, and where it can't, the classic filter
//! takes its place, so that no knock is ever lost to a map that is too small or too old.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tracing::{debug, warn};

use crate::adapters::capture::hint_filter::{FilterCounters, Hints};
use crate::adapters::capture::packet;
use crate::core::gate::HintTable;
use crate::model::exit::{ExitError, SYSTEM};

/// The map, and the sockets that depend on it.
#[derive(Debug)]
pub(super) struct Prefilter {
    hints: Hints,
    sockets: Vec<OwnedFd>,
    ports: Vec<u16>,
    /// Nothing more is to be done: the classic filter stands.
    is_over: bool,
}

impl Prefilter {
    /// Takes over the maps that the monitor made. `sockets` are those that the filter stands on.
    pub(super) fn adopt(
        maps: [OwnedFd; 2],
        sockets: &[BorrowedFd<'_>],
        ports: &[u16],
    ) -> Result<(Self, FilterCounters), ExitError> {
        let [hints, counters] = maps;
        let hints =
            Hints::adopt(hints).map_err(ExitError::system("taking over the hint filter"))?;
        let drops = FilterCounters::adopt(counters)
            .map_err(ExitError::system("taking over the hint filter"))?;
        let sockets = sockets
            .iter()
            .map(|socket| socket.try_clone_to_owned())
            .collect::<Result<_, _>>();
        let sockets = sockets.map_err(ExitError::system("keeping a hold on the packet sockets"))?;
        Ok((
            Self {
                hints,
                sockets,
                ports: ports.to_vec(),
                is_over: false,
            },
            drops,
        ))
    }

    /// Lets the hints of this table through. Comes before the gate has the table.
    ///
    /// # Errors
    /// When neither the map nor the classic filter could be brought into force: the engine would be deaf.
    pub(super) fn hold(&mut self, table: &HintTable) -> Result<(), ExitError> {
        if self.is_over {
            return Ok(());
        }
        match self.hints.update(table) {
            Ok(()) => {
                debug!(hints = table.rows(), "the kernel lets these hints through");
                Ok(())
            }
            Err(error) => {
                warn!(
                    "the kernel's hint filter can't be kept up to date ({error}): every datagram of a knock's kind is read from now on"
                );
                self.is_over = true;
                self.sockets
                    .iter()
                    .try_for_each(|socket| {
                        packet::attach_classic_filter(&socket.as_fd(), &self.ports)
                    })
                    .map_err(|error| {
                        ExitError::new(SYSTEM, format!("putting the classic filter back: {error}"))
                    })
            }
        }
    }
}
