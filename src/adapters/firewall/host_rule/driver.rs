//! The driver that wraps another one.

use std::collections::BTreeSet;

use super::access::HostAccess;
use super::repairs::Repairs;
use super::self_test;
use crate::adapters::firewall::host::{self, Network};
use crate::adapters::firewall::{Change, FirewallDriver, FirewallError};
use crate::core::host_rules::Tracking;
use crate::model::grant::{Grant, GrantId};
use crate::model::self_test::{FirewallState, SelfTest};
use crate::model::settings::{Marking, Protection};
use crate::model::time::Timestamp;

/// Wraps a driver that marks granted packets.
pub(crate) struct WithHostRules<D> {
    driver: D,
    host: HostAccess,
    installed: Option<Protection>,
    marking: Marking,
    /// Drivers of earlier runs, whose grants are taken over.
    earlier: Vec<Box<dyn FirewallDriver>>,
    /// Why grants do not open now.
    obstacle: Option<FirewallError>,
    tests: Vec<SelfTest>,
    tracking: Tracking,
    /// Why the driver's own rules cannot be read or restored.
    failure: Option<String>,
    /// Why the driver did not open the last grant.
    unopened: Option<String>,
    repairs: Repairs,
    now: Timestamp,
    /// Whether grants opened when the host's rules were judged last.
    is_open: bool,
    /// How often rules were put back.
    made: u64,
}

impl<D: FirewallDriver> WithHostRules<D> {
    pub(crate) fn new(driver: D, host: HostAccess) -> Self {
        Self {
            driver,
            host,
            installed: None,
            marking: Marking::default(),
            earlier: Vec::new(),
            obstacle: None,
            tests: Vec::new(),
            tracking: Tracking::default(),
            failure: None,
            unopened: None,
            repairs: Repairs::default(),
            now: Timestamp::default(),
            is_open: false,
            made: 0,
        }
    }

    /// Puts the rules into the host's chains, unless others take them away again and again. Returns whether the driver
    /// marks the packets that these rules need; if not, its rules must be installed again.
    fn open_host(&mut self, protection: &Protection) -> bool {
        let marking = self.marking;
        self.is_open = false;
        // the second time confirms what the first one did
        for _ in 0..2 {
            let opened = self.try_open(protection);
            self.is_open = opened == Ok(true);
            self.obstacle = opened.err();
            if self.is_open || self.obstacle.is_some() {
                break;
            }
        }
        if self.obstacle.is_some() {
            self.test(protection, &self.host.network());
            return true;
        }
        marking == self.marking
    }

    /// Returns whether nothing was to do.
    fn try_open(&mut self, protection: &Protection) -> Result<bool, FirewallError> {
        let network = self.host.network();
        self.host.refresh(protection, &network)?;
        let plan = self.host.plan(protection, &network)?;
        self.marking = plan.marking;
        if plan.changes.is_empty() {
            self.test(protection, &network);
            return Ok(true);
        }
        self.repairs
            .begin(self.now)
            .map_err(FirewallError::HostDrops)?;
        self.made = self.made.saturating_add(1);
        self.host.open(&plan.changes)?;
        Ok(false)
    }

    fn test(&mut self, protection: &Protection, network: &Network) {
        self.tests = self_test::run(self.host.rules(), protection, network);
    }

    fn note_openings(&mut self, changes: &[Change], results: &[Result<(), FirewallError>]) {
        let openings = changes.iter().zip(results);
        let mut openings = openings.filter(|(change, _)| !matches!(change, Change::Close(_)));
        if let Some((_, last)) = openings.next_back() {
            self.unopened = last
                .as_ref()
                .err()
                .map(|error| format!("the last grant was not opened: {error}"));
        }
    }

    fn install_marking(
        &mut self,
        protection: &Protection,
        live: &[Grant],
    ) -> Result<(), FirewallError> {
        let protection = Protection {
            marking: self.marking,
            ..protection.clone()
        };
        self.driver.install(&protection, live)
    }

    /// Until the first installation, grants of these drivers count as open.
    pub(crate) fn taking_over(self, earlier: Vec<Box<dyn FirewallDriver>>) -> Self {
        Self { earlier, ..self }
    }
}

impl<D: FirewallDriver> FirewallDriver for WithHostRules<D> {
    fn name(&self) -> &'static str {
        self.driver.name()
    }

    fn probe(&mut self) -> Result<(), FirewallError> {
        self.driver.probe()
    }

    /// Protection counts as installed even if grants do not open: then nobody gets in.
    fn install(&mut self, protection: &Protection, live: &[Grant]) -> Result<(), FirewallError> {
        let done = self.install_marking(protection, live);
        self.failure = done.as_ref().err().map(ToString::to_string);
        done?;
        self.earlier.clear();
        self.installed = Some(protection.clone());
        if !self.open_host(protection) {
            self.install_marking(protection, live)?;
        }
        Ok(())
    }

    fn apply(&mut self, changes: &[Change]) -> Vec<Result<(), FirewallError>> {
        let Some(obstacle) = &self.obstacle else {
            let results = self.driver.apply(changes);
            self.note_openings(changes, &results);
            return results;
        };
        let closing: Vec<Change> = changes
            .iter()
            .filter(|change| matches!(change, Change::Close(_)))
            .cloned()
            .collect();
        let mut closed = self.driver.apply(&closing).into_iter();
        changes
            .iter()
            .map(|change| match change {
                Change::Close(_) => closed
                    .next()
                    .unwrap_or_else(|| Err(FirewallError::Unanswered("no result".to_owned()))),
                Change::Open(_) | Change::Extend { .. } => Err(obstacle.clone()),
            })
            .collect()
    }

    fn apply_if(
        &mut self,
        change: &Change,
        is_wanted: &mut dyn FnMut() -> bool,
    ) -> Option<Result<(), FirewallError>> {
        if let Some(obstacle) = &self.obstacle {
            return Some(Err(obstacle.clone()));
        }
        let mut is_ordered = false;
        let mut ask = || {
            is_ordered = is_wanted();
            is_ordered
        };
        let result = self.driver.apply_if(change, &mut ask)?;
        if is_ordered {
            self.note_openings(std::slice::from_ref(change), std::slice::from_ref(&result));
        }
        Some(result)
    }

    fn list(&mut self) -> Result<Vec<Grant>, FirewallError> {
        let mut grants = self.driver.list()?;
        for driver in &mut self.earlier {
            // What cannot be read is not taken over; it is removed later.
            grants.extend(driver.list().unwrap_or_default());
        }
        grants.sort_by_key(|grant| grant.id);
        grants.dedup_by_key(|grant| grant.id);
        Ok(grants)
    }

    fn verify(&mut self) -> Result<bool, FirewallError> {
        self.tracking = host::tracking::read();
        let verified = self.driver.verify();
        self.failure = verified.as_ref().err().map(ToString::to_string);
        if !verified? {
            return Ok(false);
        }
        let Some(protection) = self.installed.clone() else {
            return Ok(true);
        };
        if self.obstacle.is_some() && self.repairs.is_paused(self.now) {
            return Ok(true);
        }
        let network = self.host.network();
        let is_changed = self.host.refresh(&protection, &network);
        if self.is_open && is_changed == Ok(false) {
            return Ok(true);
        }
        self.is_open = false;
        is_changed?;
        Ok(self.open_host(&protection))
    }

    fn remove(&mut self) -> Result<(), FirewallError> {
        let removed = self.host.remove();
        self.driver.remove()?;
        self.installed = None;
        removed
    }

    fn kernel_expiry(&self) -> Result<(), FirewallError> {
        self.driver.kernel_expiry()
    }

    fn ignores_saved(&self) -> Result<(), FirewallError> {
        self.driver.ignores_saved()
    }

    fn opens(&self) -> Result<(), FirewallError> {
        self.obstacle.clone().map_or(Ok(()), Err)
    }

    fn repairs(&self) -> u64 {
        self.made
    }

    fn take_removed(&mut self) -> BTreeSet<GrantId> {
        self.driver.take_removed()
    }

    fn state(&self) -> FirewallState {
        let mut tests = self.driver.state().tests;
        let mut judged = self.tests.clone();
        judged.retain(|one| {
            let is_same =
                |other: &SelfTest| (other.service, other.family) == (one.service, one.family);
            !tests.iter().any(is_same)
        });
        tests.extend(judged);
        let warnings = [
            self.tracking.full(),
            self.failure.clone(),
            self.unopened.clone(),
        ];
        FirewallState {
            obstacle: self.obstacle.as_ref().map(ToString::to_string),
            tests,
            warnings: warnings.into_iter().flatten().collect(),
        }
    }

    fn tick(&mut self, now: Timestamp) {
        self.now = now;
        self.driver.tick(now);
    }

    fn end(&self, until: Timestamp) -> Timestamp {
        self.driver.end(until)
    }

    fn batch(&self) -> usize {
        self.driver.batch()
    }
}
