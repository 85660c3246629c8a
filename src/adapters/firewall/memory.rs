//! A firewall in memory for tests: it holds what a real one would, and fails when told to.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Change, FirewallDriver, FirewallError};
use crate::model::grant::Grant;
use crate::model::settings::Protection;
use crate::model::time::Timestamp;

/// What the firewall holds; clones share it, so that a test can look.
#[derive(Debug, Clone, Default)]
pub struct MemoryDriver {
    state: Arc<Mutex<State>>,
}

/// The rules that a real firewall would hold.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Grants that are open.
    pub open: Vec<Grant>,
    /// What is protected; `None` before the first `install`.
    pub protection: Option<Protection>,
    /// Every change fails with this while it is set.
    pub failing: Option<String>,
    /// How many batches were carried out.
    pub batches: u64,
    /// What the driver has put in place; `open` and `protection` differ where others changed them.
    placed: Option<(Protection, Vec<Grant>)>,
}

impl MemoryDriver {
    /// Looks at the rules or changes them behind the driver's back.
    pub fn with<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn check(&self) -> Result<(), FirewallError> {
        self.failing
            .clone()
            .map_or(Ok(()), |why| Err(FirewallError::Kernel(why)))
    }

    fn change(&mut self, change: &Change) -> Result<(), FirewallError> {
        self.check()?;
        make(&mut self.open, change);
        if let Some((_, grants)) = &mut self.placed {
            make(grants, change);
        }
        Ok(())
    }
}

fn make(grants: &mut Vec<Grant>, change: &Change) {
    let (old, new) = match change {
        Change::Open(grant) => (grant, Some(grant)),
        Change::Extend { old, new } => (old, Some(new)),
        Change::Close(grant) => (grant, None),
    };
    grants.retain(|open| open.id != old.id);
    grants.extend(new.cloned());
}

impl FirewallDriver for MemoryDriver {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn probe(&mut self) -> Result<(), FirewallError> {
        self.with(|state| state.check())
    }

    fn install(&mut self, protection: &Protection, live: &[Grant]) -> Result<(), FirewallError> {
        self.with(|state| {
            state.check()?;
            state.protection = Some(protection.clone());
            state.open = live.to_vec();
            state.placed = Some((protection.clone(), live.to_vec()));
            Ok(())
        })
    }

    fn apply(&mut self, changes: &[Change]) -> Vec<Result<(), FirewallError>> {
        self.with(|state| {
            state.batches = state.batches.saturating_add(1);
            changes.iter().map(|change| state.change(change)).collect()
        })
    }

    fn list(&mut self) -> Result<Vec<Grant>, FirewallError> {
        self.with(|state| state.check().map(|()| state.open.clone()))
    }

    fn verify(&mut self) -> Result<bool, FirewallError> {
        self.with(|state| {
            state.check()?;
            let Some((protection, grants)) = &state.placed else {
                return Ok(true);
            };
            Ok(state.protection.as_ref() == Some(protection) && state.open == *grants)
        })
    }

    fn remove(&mut self) -> Result<(), FirewallError> {
        self.with(|state| {
            state.check()?;
            state.open.clear();
            state.protection = None;
            state.placed = None;
            Ok(())
        })
    }

    fn kernel_expiry(&self) -> Result<(), String> {
        Ok(())
    }

    fn tick(&mut self, _now: Timestamp) {}
}
