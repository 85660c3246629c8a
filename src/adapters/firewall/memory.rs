//! A firewall in memory for tests. It fails if a test says so.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Change, FirewallDriver, FirewallError};
use crate::model::grant::Grant;
use crate::model::settings::Protection;
use crate::model::time::Timestamp;

/// The driver. Clones share the firewall, so that a test can look.
#[derive(Debug, Clone, Default)]
pub struct MemoryDriver {
    state: Arc<Mutex<State>>,
}

/// The content of the firewall.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Open grants.
    pub open: Vec<Grant>,
    /// The protection; `None` before the first `install`.
    pub protection: Option<Protection>,
    /// Every change fails with this while it is set.
    pub failing: Option<String>,
    /// The number of batches so far.
    pub batches: u64,
    /// What the driver installed; `open` and `protection` differ from it if others changed them.
    installed: Option<(Protection, Vec<Grant>)>,
}

impl MemoryDriver {
    /// Gives access to the content, also to change it as another program would.
    pub fn with<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn check(&self) -> Result<(), FirewallError> {
        let why = self.failing.clone().map(FirewallError::Kernel);
        why.map_or(Ok(()), Err)
    }

    fn change(&mut self, change: &Change) -> Result<(), FirewallError> {
        self.check()?;
        apply_to(&mut self.open, change);
        if let Some((_, grants)) = &mut self.installed {
            apply_to(grants, change);
        }
        Ok(())
    }
}

fn apply_to(grants: &mut Vec<Grant>, change: &Change) {
    let (old, new) = change.grants();
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
            state.installed = Some((protection.clone(), live.to_vec()));
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
            let Some((protection, grants)) = &state.installed else {
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
            state.installed = None;
            Ok(())
        })
    }

    fn kernel_expiry(&self) -> Result<(), FirewallError> {
        Ok(())
    }

    fn tick(&mut self, _now: Timestamp) {}
}
