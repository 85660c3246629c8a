//! A firewall in memory for tests. It fails if a test says so.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Change, FirewallDriver, FirewallError};
use crate::model::address::Family;
use crate::model::grant::Grant;
use crate::model::settings::Protection;
use crate::model::time::Timestamp;

/// The driver. Clones share the firewall, so that a test can look.
#[derive(Debug, Clone, Default)]
pub struct MemoryDriver {
    state: Arc<Mutex<State>>,
}

/// The content of the firewall. Like that of iptables, it has two parts, one for each family, which are changed one after the
/// other. A part that was changed stays changed if the other fails.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Open grants.
    pub open: Vec<Grant>,
    /// The protection of IPv4 and of IPv6; `None` before the first `install`.
    pub protection: [Option<Protection>; 2],
    /// Every change fails with this while it is set.
    pub failing: Option<String>,
    /// Only changes of this family fail, if it is set.
    pub failing_family: Option<Family>,
    /// After so many changes, of one family each, it begins to fail.
    pub working: Option<u8>,
    /// Rules that need NFLOG fail.
    pub lacks_nflog: bool,
    /// The number of batches so far.
    pub batches: u64,
    /// What the driver installed in each part; the content differs from it if others changed it.
    installed: [Option<(Protection, Vec<Grant>)>; 2],
}

impl MemoryDriver {
    /// Gives access to the content, also to change it as another program would.
    pub fn with<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn check(&self, family: Family) -> Result<(), FirewallError> {
        let fails = self.failing_family.is_none_or(|failing| failing == family);
        let why = self.failing.clone().filter(|_| fails);
        why.map(FirewallError::Kernel).map_or(Ok(()), Err)
    }

    fn check_all(&self) -> Result<(), FirewallError> {
        Family::BOTH.iter().try_for_each(|one| self.check(*one))
    }

    /// Begins a change of one family.
    fn step(&mut self, family: Family) -> Result<(), FirewallError> {
        match &mut self.working {
            Some(0) => {
                self.working = None;
                self.failing = Some("no more".to_owned());
            }
            Some(left) => *left = left.saturating_sub(1),
            None => {}
        }
        self.check(family)
    }

    fn install(
        &mut self,
        family: Family,
        protection: &Protection,
        live: &[Grant],
    ) -> Result<(), FirewallError> {
        self.step(family)?;
        let logs = protection.nflog_group.is_some() || protection.sensor.is_some();
        if self.lacks_nflog && logs {
            return Err(FirewallError::Unsupported("no NFLOG".to_owned()));
        }
        let live: Vec<Grant> = of(family, live).cloned().collect();
        self.open
            .retain(|grant| Family::of_network(grant.allow) != family);
        self.open.extend(live.iter().cloned());
        let [v4, v6] = &mut self.protection;
        *family.pick(v4, v6) = Some(protection.clone());
        *self.installed(family) = Some((protection.clone(), live));
        Ok(())
    }

    fn installed(&mut self, family: Family) -> &mut Option<(Protection, Vec<Grant>)> {
        let [v4, v6] = &mut self.installed;
        family.pick(v4, v6)
    }

    fn change(&mut self, change: &Change) -> Result<(), FirewallError> {
        let family = Family::of_network(change.grants().0.allow);
        self.step(family)?;
        apply_to(&mut self.open, change);
        if let Some((_, grants)) = self.installed(family) {
            apply_to(grants, change);
        }
        Ok(())
    }

    fn is_intact(&mut self, family: Family) -> bool {
        let [v4, v6] = &self.protection;
        let protection = family.pick(v4, v6).clone();
        let open: Vec<Grant> = of(family, &self.open).cloned().collect();
        self.installed(family).as_ref().is_none_or(|installed| {
            protection.as_ref() == Some(&installed.0) && open == installed.1
        })
    }
}

fn of(family: Family, grants: &[Grant]) -> impl Iterator<Item = &Grant> {
    let is_own = move |grant: &&Grant| Family::of_network(grant.allow) == family;
    grants.iter().filter(is_own)
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
        self.with(|state| state.check_all())
    }

    fn install(&mut self, protection: &Protection, live: &[Grant]) -> Result<(), FirewallError> {
        self.with(|state| {
            let [v4, v6] = Family::BOTH.map(|family| state.install(family, protection, live));
            v4.and(v6)
        })
    }

    fn apply(&mut self, changes: &[Change]) -> Vec<Result<(), FirewallError>> {
        self.with(|state| {
            state.batches = state.batches.saturating_add(1);
            changes.iter().map(|change| state.change(change)).collect()
        })
    }

    fn list(&mut self) -> Result<Vec<Grant>, FirewallError> {
        self.with(|state| state.check_all().map(|()| state.open.clone()))
    }

    fn verify(&mut self) -> Result<bool, FirewallError> {
        self.with(|state| {
            state.check_all()?;
            Ok(Family::BOTH.iter().all(|family| state.is_intact(*family)))
        })
    }

    fn remove(&mut self) -> Result<(), FirewallError> {
        self.with(|state| {
            state.check_all()?;
            state.open.clear();
            state.protection = [None, None];
            state.installed = [None, None];
            Ok(())
        })
    }

    fn kernel_expiry(&self) -> Result<(), FirewallError> {
        Ok(())
    }

    fn tick(&mut self, _now: Timestamp) {}
}
