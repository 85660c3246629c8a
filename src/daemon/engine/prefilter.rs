//! The engine's half of the prefilter: loads each hint table into the kernel. If that fails, the classic filter replaces it, so that no
//! knock is lost to a stale map.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tracing::{debug, warn};

use crate::adapters::capture::hint_filter::{FilterCounters, Hints, UsedPackets};
use crate::adapters::capture::packet;
use crate::core::gate::HintTable;
use crate::model::exit::ExitError;

#[derive(Debug)]
pub(super) struct Prefilter {
    hints: Hints,
    sockets: Vec<OwnedFd>,
    ports: Vec<u16>,
    is_replaced: bool,
}

impl Prefilter {
    pub(super) fn adopt(
        [hints, counters]: [OwnedFd; 2],
        used: Option<OwnedFd>,
        sockets: &[BorrowedFd<'_>],
        ports: &[u16],
    ) -> Result<(Self, FilterCounters, Option<UsedPackets>), ExitError> {
        let failed = || ExitError::system("taking over the hint filter");
        let hints = Hints::adopt(hints).map_err(failed())?;
        let drops = FilterCounters::adopt(counters).map_err(failed())?;
        let used = used.map(UsedPackets::adopt);
        let used = used.transpose().map_err(failed())?;
        let sockets = sockets.iter().map(|socket| socket.try_clone_to_owned());
        let sockets = sockets.collect::<Result<_, _>>();
        let prefilter = Self {
            hints,
            sockets: sockets.map_err(ExitError::system("duplicating the packet sockets"))?,
            ports: ports.to_vec(),
            is_replaced: false,
        };
        Ok((prefilter, drops, used))
    }

    pub(super) fn load(&mut self, table: &HintTable) -> Result<(), ExitError> {
        if self.is_replaced {
            return Ok(());
        }
        match self.hints.update(table) {
            Ok(calls) => {
                debug!(
                    hints = table.rows(),
                    calls, "the kernel lets these hints through"
                );
                Ok(())
            }
            Err(error) => {
                warn!(
                    "the kernel's hint filter cannot be updated ({error}): the engine checks every datagram itself from now on"
                );
                self.is_replaced = true;
                let mut sockets = self.sockets.iter();
                let attached = sockets.try_for_each(|socket| {
                    packet::attach_classic_filter(&socket.as_fd(), &self.ports)
                });
                attached.map_err(ExitError::system("putting the classic filter back"))
            }
        }
    }
}
