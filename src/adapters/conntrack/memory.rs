//! A connection tracking table in memory, for tests. It fails on request.

use std::sync::{Arc, Mutex, PoisonError};

use super::grant_index::GrantIndex;
use super::{Connection, Conntrack, ConntrackError};
use crate::model::grant::Grant;
use crate::model::service::Ports;

/// The table. Clones share it, so that a test can read it.
#[derive(Debug, Clone, Default)]
pub struct MemoryConntrack {
    state: Arc<Mutex<State>>,
}

/// The table's contents, and the calls so far.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Open connections.
    pub open: Vec<Connection>,
    /// The protected ports of each [`Conntrack::adopt`].
    pub adopted: Vec<Vec<Ports>>,
    /// How often connections were ended.
    pub batches: u64,
    /// While set, every call fails with this text.
    pub failing: Option<String>,
}

impl MemoryConntrack {
    /// Reads or changes the contents.
    pub fn with<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn check(&self) -> Result<(), ConntrackError> {
        self.failing
            .clone()
            .map_or(Ok(()), |why| Err(ConntrackError::Simulated(why)))
    }
}

impl Conntrack for MemoryConntrack {
    fn adopt(&mut self, protected: &[Ports]) -> Result<usize, ConntrackError> {
        self.with(|state| {
            state.adopted.push(protected.to_vec());
            state.check().map(|()| 0)
        })
    }

    fn end(
        &mut self,
        ended: &[Grant],
        live: &mut dyn Iterator<Item = &Grant>,
    ) -> Result<usize, ConntrackError> {
        self.with(|state| {
            state.batches = state.batches.saturating_add(1);
            state.check()?;
            let (ended, live) = (GrantIndex::new(ended), GrantIndex::new(live));
            let before = state.open.len();
            state
                .open
                .retain(|connection| !ended.covers(connection) || live.covers(connection));
            Ok(before.saturating_sub(state.open.len()))
        })
    }
}
