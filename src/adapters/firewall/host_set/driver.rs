//! The driver that wraps another one.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use super::elements::{Owners, Sets, of_grant};
use crate::adapters::firewall::nftables::{HostSets, Owner, SetChange, SetElement};
use crate::adapters::firewall::{Change, FirewallDriver, FirewallError};
use crate::model::address::Family;
use crate::model::grant::{Grant, GrantId};
use crate::model::host_set::ServiceSets;
use crate::model::self_test::{FirewallState, SelfTest};
use crate::model::settings::Protection;
use crate::model::time::Timestamp;

/// An element that ends this soon may be gone already.
const SOON: Duration = Duration::from_secs(1);

/// Wraps any driver.
pub(crate) struct WithHostSets<D> {
    driver: D,
    services: Vec<ServiceSets>,
    sets: Sets,
    owners: Owners,
    /// The open grants of these services.
    live: BTreeMap<GrantId, Grant>,
    /// Grants whose element somebody removed.
    removed: BTreeSet<GrantId>,
    /// The number of the ruleset at the last look.
    looked_at: Option<u32>,
    /// Elements of others that a grant needs; they may end before the grant.
    shared: BTreeSet<SetElement>,
    now: Timestamp,
    /// A failed change could not be taken back, so the wrapped driver has a change that was reported as failed.
    is_doubtful: bool,
}

impl<D: FirewallDriver> WithHostSets<D> {
    pub(crate) fn new(driver: D) -> Self {
        Self {
            driver,
            services: Vec::new(),
            sets: Sets::new(),
            owners: Owners::default(),
            live: BTreeMap::new(),
            removed: BTreeSet::new(),
            looked_at: None,
            shared: BTreeSet::new(),
            now: Timestamp::default(),
            is_doubtful: false,
        }
    }

    /// Asks the kernel for the sets that the config names.
    fn look(&self, kernel: &mut HostSets) -> Result<Sets, FirewallError> {
        let names = self.services.iter().flat_map(|service| &service.sets);
        let mut sets = Sets::new();
        for set in names {
            if !sets.contains_key(set) {
                sets.insert(set.clone(), kernel.look_at(set)?);
            }
        }
        Ok(sets)
    }

    /// The changes that bring elements to what the open grants need. Elements of others stay.
    fn changes(
        &mut self,
        kernel: &mut HostSets,
        touched: BTreeSet<SetElement>,
    ) -> Result<Vec<SetChange>, FirewallError> {
        let mut changes = Vec::new();
        for element in touched {
            let last = self.owners.last(&element);
            match kernel.owner(&element)? {
                Some(Owner::Other) => {
                    if last.is_some() {
                        self.shared.insert(element);
                    }
                    continue;
                }
                None if last.is_none() => continue,
                None | Some(Owner::Postern) => {}
            }
            let wanted = last.map(|(until, id)| {
                let left = until.as_millis().saturating_sub(self.now.as_millis());
                (left, id)
            });
            self.shared.remove(&element);
            changes.push((element, wanted));
        }
        Ok(changes)
    }

    fn write(&mut self, touched: BTreeSet<SetElement>) -> Result<(), FirewallError> {
        if touched.is_empty() {
            return Ok(());
        }
        let mut kernel = HostSets::open()?;
        let changes = self.changes(&mut kernel, touched)?;
        kernel.change(&changes)
    }

    /// Carries out changes that the wrapped driver has carried out, all or none.
    fn add_to_sets(&mut self, changes: &[&Change]) -> Result<(), FirewallError> {
        let mut touched = BTreeSet::new();
        let mut before = Vec::new();
        for change in changes {
            let new = change.grants().1;
            let new = new.map(|grant| {
                let elements = of_grant(grant, &self.services, &self.sets).unwrap_or_default();
                (grant.until, elements)
            });
            before.push((change.id(), self.owners.get(change.id())));
            touched.extend(self.owners.replace(change.id(), new));
        }
        if let Err(error) = self.write(touched) {
            for (id, old) in before.into_iter().rev() {
                self.owners.replace(id, old);
            }
            return Err(error);
        }
        for change in changes {
            match change.grants().1 {
                Some(grant) => self.live.insert(grant.id, grant.clone()),
                None => self.live.remove(&change.id()),
            };
        }
        Ok(())
    }

    fn apply_with_sets(&mut self, changes: &[Change]) -> Vec<Result<(), FirewallError>> {
        let fits: Vec<Result<(), FirewallError>> = changes
            .iter()
            .map(|change| match change.grants().1 {
                Some(grant) => of_grant(grant, &self.services, &self.sets).map(drop),
                None => Ok(()),
            })
            .collect();
        let fitting = changes.iter().zip(&fits).filter(|(_, fits)| fits.is_ok());
        let fitting: Vec<Change> = fitting.map(|(change, _)| change.clone()).collect();
        let mut done = self.driver.apply(&fitting).into_iter();
        let unanswered = || Err(FirewallError::Unanswered("no result".to_owned()));
        let mut results: Vec<Result<(), FirewallError>> = fits
            .into_iter()
            .map(|fits| fits.and_then(|()| done.next().unwrap_or_else(unanswered)))
            .collect();
        let open: Vec<&Change> = changes
            .iter()
            .zip(&results)
            .filter(|(_, result)| result.is_ok())
            .map(|(change, _)| change)
            .collect();
        if self.add_to_sets(&open).is_err() {
            // nothing of the batch is done, so each change is tried alone
            for (change, result) in changes.iter().zip(&mut results) {
                if result.is_ok()
                    && let Err(error) = self.add_to_sets(&[change])
                {
                    *result = Err(self.take_back(change, error));
                }
            }
        }
        results
    }

    /// A failed change leaves nothing half open.
    fn take_back(&mut self, change: &Change, error: FirewallError) -> FirewallError {
        let back = match change {
            Change::Open(grant) => Change::Close(grant.clone()),
            Change::Extend { old, new } => Change::Extend {
                old: new.clone(),
                new: old.clone(),
            },
            Change::Close(_) => return error,
        };
        match self.driver.apply(&[back]).into_iter().next() {
            Some(Err(also)) => {
                self.is_doubtful = true;
                error.and(also)
            }
            Some(Ok(())) | None => error,
        }
    }

    /// Writes the elements of all grants anew, and removes every other one of Postern.
    fn rewrite(&mut self) -> Result<(), FirewallError> {
        if self.services.is_empty() && self.sets.is_empty() && self.looked_at.is_some() {
            // Nothing was added since the last time.
            return Ok(());
        }
        let mut kernel = match HostSets::open() {
            Ok(kernel) => kernel,
            Err(_) if self.services.is_empty() => return Ok(()),
            Err(error) => return Err(error),
        };
        let number = kernel.generation()?;
        self.sets = self.look(&mut kernel)?;
        self.owners = Owners::default();
        self.shared.clear();
        for grant in self.live.values() {
            // A set may be missing early in the boot; its elements are added when it appears.
            let elements = of_grant(grant, &self.services, &self.sets).unwrap_or_default();
            self.owners.replace(grant.id, Some((grant.until, elements)));
        }
        let mut touched: BTreeSet<SetElement> = self.owners.elements().cloned().collect();
        touched.extend(kernel.all_own()?);
        self.write(touched)?;
        self.looked_at = Some(number);
        Ok(())
    }

    /// Writes everything anew if a set appeared, or was loaded anew.
    fn follow_sets(&mut self, kernel: &mut HostSets) -> Result<bool, FirewallError> {
        let is_new = self.look(kernel)? != self.sets;
        if is_new {
            self.rewrite()?;
        }
        Ok(is_new)
    }

    /// Notes grants whose element somebody removed.
    fn look_for_changes(&mut self) -> Result<(), FirewallError> {
        let mut kernel = HostSets::open()?;
        let number = kernel.generation()?;
        let is_unchanged = self.looked_at == Some(number) && self.shared.is_empty();
        if is_unchanged || self.follow_sets(&mut kernel)? {
            return Ok(());
        }
        let mut missing = BTreeSet::new();
        for (set, _) in self.sets.iter().filter(|(_, known)| known.is_ok()) {
            let elements = kernel.elements(set)?.into_iter();
            let present: HashSet<Vec<u8>> = elements.map(|(key, _)| key).collect();
            let needed = self.owners.elements().filter(|one| one.set == *set);
            missing.extend(needed.filter(|one| !present.contains(&one.key)).cloned());
        }
        self.looked_at = Some(number);
        let soon = self.now.plus(SOON);
        let (mut others, mut removed) = (BTreeSet::new(), BTreeSet::new());
        for element in missing {
            match self.owners.last(&element) {
                Some((until, _)) if until > soon => {}
                _ => continue,
            }
            if self.shared.remove(&element) {
                others.insert(element);
            } else {
                removed.extend(self.owners.of(&element));
            }
        }
        self.removed.extend(removed);
        // the elements of others are gone, and the grants are still open
        self.write(others)
    }

    fn faults(&self) -> Vec<SelfTest> {
        let mut tests = Vec::new();
        for service in &self.services {
            let unfit = service
                .sets
                .iter()
                .filter_map(|set| self.sets.get(set)?.as_ref().err());
            let Some(why) = unfit.map(ToString::to_string).next() else {
                continue;
            };
            tests.extend(service.ports.iter().flat_map(|ports| {
                Family::BOTH.map(|family| SelfTest {
                    service: *ports,
                    family,
                    granted: format!("refused: {why}"),
                    stranger: "not judged".to_owned(),
                    session: None,
                    is_right: Some(false),
                })
            }));
        }
        tests
    }
}

impl<D: FirewallDriver> FirewallDriver for WithHostSets<D> {
    fn name(&self) -> &'static str {
        self.driver.name()
    }

    fn probe(&mut self) -> Result<(), FirewallError> {
        self.driver.probe()
    }

    fn install(&mut self, protection: &Protection, live: &[Grant]) -> Result<(), FirewallError> {
        self.driver.install(protection, live)?;
        self.is_doubtful = false;
        self.services.clone_from(&protection.sets);
        self.live = live.iter().map(|grant| (grant.id, grant.clone())).collect();
        self.rewrite()
    }

    fn apply(&mut self, changes: &[Change]) -> Vec<Result<(), FirewallError>> {
        if self.services.is_empty() {
            return self.driver.apply(changes);
        }
        match HostSets::open().and_then(|mut kernel| self.follow_sets(&mut kernel)) {
            Ok(_) => self.apply_with_sets(changes),
            Err(error) => vec![Err(error); changes.len()],
        }
    }

    fn apply_if(
        &mut self,
        change: &Change,
        is_wanted: &mut dyn FnMut() -> bool,
    ) -> Option<Result<(), FirewallError>> {
        if self.services.is_empty() {
            return self.driver.apply_if(change, is_wanted);
        }
        is_wanted()
            .then(|| self.apply(std::slice::from_ref(change)))?
            .pop()
    }

    fn list(&mut self) -> Result<Vec<Grant>, FirewallError> {
        self.driver.list()
    }

    fn verify(&mut self) -> Result<bool, FirewallError> {
        if self.is_doubtful || !self.driver.verify()? {
            return Ok(false);
        }
        if !self.services.is_empty() {
            self.look_for_changes()?;
        }
        Ok(true)
    }

    fn take_removed(&mut self) -> BTreeSet<GrantId> {
        std::mem::take(&mut self.removed)
    }

    fn remove(&mut self) -> Result<(), FirewallError> {
        self.driver.remove()?;
        self.services.clear();
        self.live.clear();
        self.rewrite()
    }

    fn kernel_expiry(&self) -> Result<(), FirewallError> {
        self.driver.kernel_expiry()
    }

    fn ignores_saved(&self) -> Result<(), FirewallError> {
        self.driver.ignores_saved()
    }

    fn state(&self) -> FirewallState {
        FirewallState {
            tests: self.faults(),
            ..FirewallState::default()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::firewall::memory::MemoryDriver;
    use crate::core::fixture;

    #[test]
    fn failed_take_back_is_looked_after() {
        let firewall = MemoryDriver::default();
        let mut driver = WithHostSets::new(firewall.clone());
        let (protection, grant) = (
            Protection::default(),
            fixture::grant(1, "alice", "192.0.2.7/32", &["tcp/22"]),
        );
        driver.install(&protection, &[]).unwrap();
        let open = Change::Open(grant);
        assert_eq!(driver.apply(std::slice::from_ref(&open)), [Ok(())]);
        firewall.with(|state| state.failing = Some("no".to_owned()));
        let refused = FirewallError::Kernel("the set is full".to_owned());
        assert_ne!(driver.take_back(&open, refused.clone()), refused);
        firewall.with(|state| state.failing = None);
        assert_eq!(driver.verify(), Ok(false));
        driver.install(&protection, &[]).unwrap();
        assert_eq!(driver.verify(), Ok(true));
        assert!(firewall.with(|state| state.open.is_empty()));
    }
}
