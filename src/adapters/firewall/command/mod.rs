//! Any firewall through programs that the config names: one run opens or closes one service of one grant.
//!
//! Owns nothing in a firewall and protects nothing; the host's own rules do. No kernel ends these grants, so what is open is kept
//! on the disk from before its program runs until its close succeeded (invariant 4). Runs nothing itself: programs are run by
//! the [`Run`] it is given. Carries out invariants 6 and 10.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Change, FirewallDriver, FirewallError};
use crate::model::grant::{Grant, GrantId};
use crate::model::journal::JournalStore;
use crate::model::run::Run;
use crate::model::settings::{CommandPrograms, Protection};
use crate::model::time::Timestamp;

mod doors;
mod fit;
mod journal;
#[cfg(test)]
mod tests;

pub use fit::unfit;
use journal::{Journal, Record};

/// The pause between two runs of the program that lists.
const LIST_PAUSE: Duration = Duration::from_secs(10);

/// The driver.
pub struct Command {
    programs: CommandPrograms,
    run: Box<dyn Run + Send>,
    journal: Journal,
    now: Timestamp,
    /// Grants that only the driver knows any more and that are still to be closed.
    owed: BTreeSet<GrantId>,
    /// Grants that should be open and may not be.
    missing: BTreeSet<GrantId>,
    /// Grants that this step closes.
    ending: BTreeSet<GrantId>,
    /// How often closing a grant took too long: such a one comes after those that never did.
    hangs: BTreeMap<GrantId, u32>,
    /// A program of this step was killed because its time was up; more of them could take as long each, so no other is run.
    hung: bool,
    installed: bool,
    listed: Option<Timestamp>,
}

impl Command {
    /// Reads the journal of an earlier run. Runs no program yet.
    ///
    /// # Errors
    /// The journal can't be read, and the way out.
    pub fn open(
        programs: CommandPrograms,
        run: Box<dyn Run + Send>,
        keep: Box<dyn JournalStore>,
    ) -> Result<Self, FirewallError> {
        Ok(Self {
            programs,
            run,
            journal: Journal::open(keep)?,
            now: Timestamp::default(),
            owed: BTreeSet::new(),
            missing: BTreeSet::new(),
            ending: BTreeSet::new(),
            hangs: BTreeMap::new(),
            hung: false,
            installed: false,
            listed: None,
        })
    }

    /// How many grants a journal names that may still be open.
    ///
    /// # Errors
    /// The journal can't be read, and the way out.
    pub fn left(keep: Box<dyn JournalStore>) -> Result<usize, FirewallError> {
        Journal::open(keep).map(|journal| journal.records().count())
    }

    fn begin(&mut self, ending: BTreeSet<GrantId>) {
        self.hung = false;
        self.ending = ending;
    }

    /// What keeps a program from being run with root's rights.
    fn look_at_programs(&self) -> Result<(), FirewallError> {
        let templates = [
            Some(&self.programs.open),
            Some(&self.programs.close),
            self.programs.list.as_ref(),
        ];
        templates.into_iter().flatten().try_for_each(|template| {
            unfit(template.program()).map_or(Ok(()), |why| Err(FirewallError::Unsupported(why)))
        })
    }

    /// Closes what is not among the live grants and opens what is missing of them.
    fn take_over(&mut self, live: &[Grant]) -> Result<(), FirewallError> {
        let wanted: BTreeSet<GrantId> = live.iter().map(|grant| grant.id).collect();
        let stale: BTreeSet<GrantId> = self
            .journal
            .records()
            .map(|record| record.grant.id)
            .filter(|id| !wanted.contains(id))
            .collect();
        self.begin(stale.clone());
        let listed = self.list_ids()?;
        self.owed.extend(&stale);
        self.date_anew(live);
        // Whatever still stands after that is owed.
        let _ = self.pay();
        let failed = self.reopen(live, listed.as_ref())?;
        // Where this fails the disk holds too much, which is harmless; verify tries again and reports it.
        let _ = self.journal.catch_up();
        match failed {
            // At the start a door that does not open again must not keep the others shut: it counts as missing.
            Some(why) if self.installed => Err(why),
            _ => {
                self.installed = true;
                Ok(())
            }
        }
    }

    /// The ends of grants that are open, where they are not what the journal says.
    fn date_anew(&mut self, live: &[Grant]) {
        for grant in live {
            if self
                .journal
                .get(grant.id)
                .is_some_and(|record| !record.closing)
            {
                self.journal.put(grant, false);
            }
        }
    }
}

impl FirewallDriver for Command {
    fn name(&self) -> &'static str {
        "command"
    }

    fn probe(&mut self) -> Result<(), FirewallError> {
        self.look_at_programs()?;
        self.begin(BTreeSet::new());
        self.list_ids().map(drop)
    }

    /// What is found open beyond `live` and can't be closed is tried again with every [`FirewallDriver::verify`], which reports it.
    fn install(&mut self, protection: &Protection, live: &[Grant]) -> Result<(), FirewallError> {
        if !protection.services.is_empty() {
            return Err(FirewallError::Unsupported(
                "the backend \"command\" cannot protect services; write protect = \"none\""
                    .to_owned(),
            ));
        }
        self.look_at_programs()?;
        self.take_over(live)
    }

    fn apply(&mut self, changes: &[Change]) -> Vec<Result<(), FirewallError>> {
        let closing = |change: &Change| {
            if let Change::Close(grant) = change {
                Some(grant.id)
            } else {
                None
            }
        };
        self.begin(changes.iter().filter_map(closing).collect());
        let noted = self
            .journal
            .note(changes.iter().filter_map(|change| match change {
                Change::Open(grant) | Change::Extend { new: grant, .. } => Some(grant),
                Change::Close(_) => None,
            }));
        let mut order: Vec<(u32, usize)> = Vec::with_capacity(changes.len());
        order.extend(
            changes
                .iter()
                .enumerate()
                .map(|(at, change)| (closing(change).map_or(0, |id| self.hung_before(id)), at)),
        );
        order.sort_unstable();
        let mut results: Vec<(usize, Result<(), FirewallError>)> =
            Vec::with_capacity(changes.len());
        for (_, at) in order {
            results.extend(
                changes
                    .get(at)
                    .map(|change| (at, self.change(change, &noted))),
            );
        }
        results.sort_unstable_by_key(|(at, _)| *at);
        let _ = self.journal.catch_up();
        results.into_iter().map(|(_, result)| result).collect()
    }

    /// All that the journal holds. A grant that must not stay is told as one whose time is over.
    fn list(&mut self) -> Result<Vec<Grant>, FirewallError> {
        self.begin(BTreeSet::new());
        self.list_ids()?;
        let told = |Record { grant, closing }: &Record| {
            let until = if *closing {
                Timestamp::default()
            } else {
                grant.until
            };
            Grant {
                until,
                ..grant.clone()
            }
        };
        Ok(self.journal.records().map(told).collect())
    }

    /// Also tries again what could not be closed or written before.
    fn verify(&mut self) -> Result<bool, FirewallError> {
        self.begin(BTreeSet::new());
        self.pay()?;
        self.journal.catch_up()?;
        let is_time = self
            .listed
            .is_none_or(|listed| self.now.since(listed) >= LIST_PAUSE);
        if !self.installed || !self.missing.is_empty() || !is_time {
            return Ok(self.missing.is_empty());
        }
        let Some(ids) = self.list_ids()? else {
            return Ok(true);
        };
        let stands = |record: &Record| {
            record.closing || record.grant.until <= self.now || ids.contains(&record.grant.id)
        };
        Ok(self.journal.records().all(stands))
    }

    fn remove(&mut self) -> Result<(), FirewallError> {
        let all: BTreeSet<GrantId> = self
            .journal
            .records()
            .map(|record| record.grant.id)
            .collect();
        self.begin(all.clone());
        self.owed.extend(all);
        self.installed = false;
        let paid = self.pay();
        self.journal.catch_up()?;
        paid
    }

    fn kernel_expiry(&self) -> Result<(), String> {
        Err("programs of [firewall.command] open and close the doors; closes that are due are kept on the disk".to_owned())
    }

    fn tick(&mut self, now: Timestamp) {
        self.now = now;
    }
}
