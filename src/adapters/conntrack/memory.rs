//! Connections in memory for tests: those that a real kernel would have, and failures when told to.

use std::sync::{Arc, Mutex, PoisonError};

use super::doors::Doors;
use super::{Connection, ConnectionsError, Conntrack};
use crate::model::grant::Grant;
use crate::model::service::Ports;

/// The kernel's table; clones share it, so that a test can look.
#[derive(Debug, Clone, Default)]
pub struct MemoryConntrack {
    state: Arc<Mutex<State>>,
}

/// What a real kernel would hold, and what was asked of it.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Connections that live.
    pub open: Vec<Connection>,
    /// The protected ports of each [`Conntrack::adopt`].
    pub adopted: Vec<Vec<Ports>>,
    /// How often connections were ended.
    pub batches: u64,
    /// Everything fails with this while it is set.
    pub failing: Option<String>,
}

impl MemoryConntrack {
    /// Looks at the connections or changes them behind the adapter's back.
    pub fn with<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn check(&self) -> Result<(), ConnectionsError> {
        self.failing
            .clone()
            .map_or(Ok(()), |why| Err(ConnectionsError(why)))
    }
}

impl Conntrack for MemoryConntrack {
    fn adopt(&mut self, protected: &[Ports]) -> Result<usize, ConnectionsError> {
        self.with(|state| {
            state.adopted.push(protected.to_vec());
            state.check().map(|()| 0)
        })
    }

    fn end(
        &mut self,
        ended: &[Grant],
        live: &mut dyn Iterator<Item = &Grant>,
    ) -> Result<usize, ConnectionsError> {
        self.with(|state| {
            state.batches = state.batches.saturating_add(1);
            state.check()?;
            let (ended, live) = (Doors::of(ended), Doors::of(live));
            let before = state.open.len();
            state
                .open
                .retain(|connection| !ended.admit(connection) || live.admit(connection));
            Ok(before.saturating_sub(state.open.len()))
        })
    }
}
