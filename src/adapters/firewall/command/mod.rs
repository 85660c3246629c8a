//! The command driver: programs from the config open and close grants in any firewall, one run for one service of one grant.
//!
//! It protects nothing; the host's own rules do that. No kernel ends these grants. So a grant is on the disk from before its
//! first program runs until its last close succeeded (invariant 4). Invariants 6 and 10.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Change, FirewallDriver, FirewallError};
use crate::model::grant::{Grant, GrantId};
use crate::model::journal::JournalStore;
use crate::model::run::Run;
use crate::model::settings::{CommandPrograms, Protection};
use crate::model::time::Timestamp;

mod journal;
mod program_check;
mod services;
#[cfg(test)]
mod tests;

use journal::{Journal, Record};
pub(crate) use program_check::program_fault;

const LIST_PAUSE: Duration = Duration::from_secs(10);

pub(crate) struct Command {
    programs: CommandPrograms,
    run: Box<dyn Run + Send>,
    journal: Journal,
    now: Timestamp,
    /// Grants that the ledger no longer knows and that are still to be closed.
    overdue: BTreeSet<GrantId>,
    /// Grants that should be open but may be closed.
    missing: BTreeSet<GrantId>,
    closing: BTreeSet<GrantId>,
    /// How often the close of a grant passed the deadline. Such a grant is closed after the others.
    late_closes: BTreeMap<GrantId, u32>,
    /// A program of this step passed its deadline. No other one runs, because each could take as long.
    is_late: bool,
    installed: bool,
    listed_at: Option<Timestamp>,
}

impl Command {
    pub(crate) fn open(
        programs: CommandPrograms,
        run: Box<dyn Run + Send>,
        store: Box<dyn JournalStore>,
    ) -> Result<Self, FirewallError> {
        Ok(Self {
            programs,
            run,
            journal: Journal::open(store)?,
            now: Timestamp::default(),
            overdue: BTreeSet::new(),
            missing: BTreeSet::new(),
            closing: BTreeSet::new(),
            late_closes: BTreeMap::new(),
            is_late: false,
            installed: false,
            listed_at: None,
        })
    }

    pub(crate) fn left(store: Box<dyn JournalStore>) -> Result<usize, FirewallError> {
        Journal::open(store).map(|journal| journal.records().count())
    }

    fn begin_step(&mut self, closing: BTreeSet<GrantId>) {
        self.is_late = false;
        self.closing = closing;
    }

    fn check_programs(&self) -> Result<(), FirewallError> {
        let templates = [
            Some(&self.programs.open),
            Some(&self.programs.close),
            self.programs.list.as_ref(),
        ];
        templates.into_iter().flatten().try_for_each(|template| {
            program_fault(template.program()).map_or(Ok(()), |why| {
                Err(FirewallError::Unsupported(why.to_string()))
            })
        })
    }

    fn take_over(&mut self, live: &[Grant]) -> Result<(), FirewallError> {
        let wanted: BTreeSet<GrantId> = live.iter().map(|grant| grant.id).collect();
        let stale = &self.journal.ids() - &wanted;
        self.begin_step(stale.clone());
        let listed = self.list_ids()?;
        self.overdue.extend(&stale);
        for grant in live {
            let record = self.journal.get(grant.id);
            if record.is_some_and(|record| !record.closing) {
                self.journal.put(grant, false);
            }
        }
        // A grant that cannot be closed now stays overdue.
        let _ = self.close_overdue();
        let failed = self.reopen(live, listed.as_ref())?;
        // If this fails, the file lists too many grants, which is harmless. `verify` tries again and reports it.
        let _ = self.journal.write_pending();
        match failed {
            // At the start one grant that does not open must not keep the others closed: it counts as missing.
            Some(why) if self.installed => Err(why),
            _ => {
                self.installed = true;
                Ok(())
            }
        }
    }
}

impl FirewallDriver for Command {
    fn name(&self) -> &'static str {
        "command"
    }

    fn probe(&mut self) -> Result<(), FirewallError> {
        self.check_programs()?;
        self.begin_step(BTreeSet::new());
        self.list_ids().map(drop)
    }

    /// A grant beyond `live` that cannot be closed is tried again by each [`FirewallDriver::verify`], which reports it.
    fn install(&mut self, protection: &Protection, live: &[Grant]) -> Result<(), FirewallError> {
        if !protection.services.is_empty() {
            return Err(FirewallError::Unsupported(
                "the backend \"command\" cannot protect services; write protect = \"none\""
                    .to_owned(),
            ));
        }
        self.check_programs()?;
        self.take_over(live)
    }

    fn apply(&mut self, changes: &[Change]) -> Vec<Result<(), FirewallError>> {
        let closing = |change: &Change| match change.grants() {
            (closed, None) => Some(closed.id),
            _ => None,
        };
        self.begin_step(changes.iter().filter_map(closing).collect());
        let opening = changes.iter().filter_map(|change| change.grants().1);
        let recorded = self.journal.record(opening);
        let mut order: Vec<(usize, &Change)> = changes.iter().enumerate().collect();
        order.sort_by_key(|(_, change)| closing(change).map_or(0, |id| self.late_closes_of(id)));
        let mut results = BTreeMap::new();
        for (at, change) in order {
            results.insert(at, self.change(change, &recorded));
        }
        let _ = self.journal.write_pending();
        results.into_values().collect()
    }

    /// The grants in the journal. One that must be closed is listed with an end in the past.
    fn list(&mut self) -> Result<Vec<Grant>, FirewallError> {
        self.begin_step(BTreeSet::new());
        self.list_ids()?;
        let listed = |Record { grant, closing }: &Record| {
            let mut grant = grant.clone();
            if *closing {
                grant.until = Timestamp::default();
            }
            grant
        };
        Ok(self.journal.records().map(listed).collect())
    }

    /// Also tries again to close and to write what failed before.
    fn verify(&mut self) -> Result<bool, FirewallError> {
        self.begin_step(BTreeSet::new());
        self.close_overdue()?;
        self.journal.write_pending()?;
        let is_time = self
            .listed_at
            .is_none_or(|listed| self.now.since(listed) >= LIST_PAUSE);
        if !self.installed || !self.missing.is_empty() || !is_time {
            return Ok(self.missing.is_empty());
        }
        let Some(ids) = self.list_ids()? else {
            return Ok(true);
        };
        let is_open = |record: &Record| {
            record.closing || record.grant.until <= self.now || ids.contains(&record.grant.id)
        };
        Ok(self.journal.records().all(is_open))
    }

    fn remove(&mut self) -> Result<(), FirewallError> {
        let all = self.journal.ids();
        self.begin_step(all.clone());
        self.overdue.extend(all);
        self.installed = false;
        let closed = self.close_overdue();
        self.journal.write_pending()?;
        closed
    }

    fn kernel_expiry(&self) -> Result<(), FirewallError> {
        Err(FirewallError::Unsupported(
            "programs of [firewall.command] open and close grants; pending closes are on the disk"
                .to_owned(),
        ))
    }

    fn tick(&mut self, now: Timestamp) {
        self.now = now;
    }
}
