//! One grant at a time: which programs run to open it, to close it, and what becomes of it where one fails.

use std::collections::BTreeSet;

use super::{Command, Record};
use crate::adapters::firewall::{Change, FirewallError};
use crate::model::command_template::CommandTemplate;
use crate::model::grant::{Grant, GrantId};
use crate::model::grant_values::grant_values;
use crate::model::run::{self, ProgramFailed};
use crate::model::service::Ports;

impl Command {
    pub(super) fn change(
        &mut self,
        change: &Change,
        noted: &Result<(), FirewallError>,
    ) -> Result<(), FirewallError> {
        match change {
            Change::Open(grant) => noted.clone().and_then(|()| self.open_anew(grant)),
            Change::Extend { old, new } => {
                noted.clone()?;
                let opened = self.open_all(new);
                // Where it failed, the grant stays as it was and is closed at its old end.
                self.journal
                    .put(if opened.is_ok() { new } else { old }, false);
                opened.map_err(|(_, why)| why)
            }
            Change::Close(grant) => {
                // It must not be open again after a restart, whatever its time says.
                self.close_known(grant.id)
                    .inspect_err(|_| self.journal.put(grant, true))
            }
        }
    }

    /// Opens a grant wholly or not at all.
    fn open_anew(&mut self, grant: &Grant) -> Result<(), FirewallError> {
        let Err((tried, why)) = self.open_all(grant) else {
            return Ok(());
        };
        let half = Grant {
            services: grant.services.iter().take(tried).copied().collect(),
            ..grant.clone()
        };
        let Err(also) = self.close_all(&half) else {
            self.forget(grant.id);
            return Err(why);
        };
        self.journal.put(grant, true);
        self.owed.insert(grant.id);
        Err(FirewallError::Program(format!(
            "{why}; and what was opened of it is not closed yet: {also}"
        )))
    }

    /// Opens each service; where one fails, says how many were tried.
    fn open_all(&mut self, grant: &Grant) -> Result<(), (usize, FirewallError)> {
        if !grant.forwards.is_empty() {
            return Err((
                0,
                FirewallError::Unsupported(
                    "the backend \"command\" cannot lead a port to another host".to_owned(),
                ),
            ));
        }
        let template = self.programs.open.clone();
        for (at, ports) in grant.services.iter().enumerate() {
            self.carry_out(&template, grant, *ports)
                .map_err(|failed| (at.saturating_add(1), failed.into()))?;
        }
        self.missing.remove(&grant.id);
        Ok(())
    }

    /// Opens again those that should be open and are not. Returns why one could not be.
    pub(super) fn reopen(
        &mut self,
        live: &[Grant],
        listed: Option<&BTreeSet<GrantId>>,
    ) -> Result<Option<FirewallError>, FirewallError> {
        let is_absent = |grant: &&Grant| match self.journal.get(grant.id) {
            None => true,
            Some(record) if record.closing => false,
            Some(_) => {
                self.missing.contains(&grant.id)
                    || listed.is_some_and(|ids| !ids.contains(&grant.id))
            }
        };
        let absent: Vec<Grant> = live.iter().filter(is_absent).cloned().collect();
        self.journal.note(absent.iter())?;
        let mut failed = None;
        for grant in &absent {
            if let Err((_, why)) = self.open_all(grant) {
                self.missing.insert(grant.id);
                failed.get_or_insert(why);
            }
        }
        Ok(failed)
    }

    /// Closes what is owed, as far as it can be.
    pub(super) fn pay(&mut self) -> Result<(), FirewallError> {
        let mut owed: Vec<(u32, GrantId)> = self
            .owed
            .iter()
            .map(|id| (self.hung_before(*id), *id))
            .collect();
        owed.sort_unstable();
        let mut first = None;
        for (_, id) in owed {
            match (
                self.close_known(id),
                self.journal.get(id).map(|record| record.grant.clone()),
            ) {
                (Err(why), Some(grant)) => {
                    self.journal.put(&grant, true);
                    first.get_or_insert(FirewallError::Program(format!(
                        "{grant} should be closed and is not: {why}"
                    )));
                }
                _ => drop(self.owed.remove(&id)),
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Closes a grant as the journal has it; one that it does not have is closed.
    fn close_known(&mut self, id: GrantId) -> Result<(), FirewallError> {
        let Some(Record { grant, .. }) = self.journal.get(id).cloned() else {
            return Ok(());
        };
        self.close_all(&grant)?;
        self.forget(id);
        Ok(())
    }

    /// Closes each service, also those behind one that fails.
    fn close_all(&mut self, grant: &Grant) -> Result<(), FirewallError> {
        let template = self.programs.close.clone();
        let mut first = None;
        for ports in &grant.services {
            match self.carry_out(&template, grant, *ports) {
                Ok(()) => self.open_for_others(grant, *ports),
                Err(failed) => {
                    if failed.hung {
                        let hangs = self.hangs.entry(grant.id).or_default();
                        *hangs = hangs.saturating_add(1);
                    }
                    first.get_or_insert(failed.into());
                }
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// A firewall may hold one entry where two grants open the same door; the one that stays is opened again.
    fn open_for_others(&mut self, closed: &Grant, ports: Ports) {
        let shares = |record: &&Record| {
            let grant = &record.grant;
            let same = grant.id != closed.id
                && grant.allow == closed.allow
                && grant.target == closed.target;
            same && !record.closing && grant.until > self.now && !self.ending.contains(&grant.id)
        };
        let others: Vec<Grant> = self
            .journal
            .records()
            .filter(shares)
            .map(|record| record.grant.clone())
            .collect();
        let template = self.programs.open.clone();
        for other in others {
            for theirs in other
                .services
                .iter()
                .filter(|theirs| theirs.overlap(ports).is_some())
            {
                if self.carry_out(&template, &other, *theirs).is_err() {
                    self.missing.insert(other.id);
                }
            }
        }
    }

    fn forget(&mut self, id: GrantId) {
        self.journal.forget(id);
        self.missing.remove(&id);
        self.hangs.remove(&id);
    }

    pub(super) fn hung_before(&self, id: GrantId) -> u32 {
        self.hangs.get(&id).copied().unwrap_or_default()
    }

    fn carry_out(
        &mut self,
        template: &CommandTemplate,
        grant: &Grant,
        ports: Ports,
    ) -> Result<(), ProgramFailed> {
        if self.hung {
            let line = format!(
                "{} was not run, for another program of this step took too long",
                template.program().display()
            );
            return Err(ProgramFailed { line, hung: false });
        }
        let arguments = template.filled(&grant_values(grant, ports, self.now));
        let ran = run::run_successfully(self.run.as_mut(), template.program(), &arguments)
            .inspect_err(|failed| self.hung = failed.hung);
        ran.map(drop)
    }

    /// What the program that lists says is open, `None` without one. A grant that the journal does not know is an error.
    pub(super) fn list_ids(&mut self) -> Result<Option<BTreeSet<GrantId>>, FirewallError> {
        let Some(template) = self.programs.list.clone() else {
            return Ok(None);
        };
        let failed = |why: String| {
            FirewallError::Program(format!("{}: {why}", template.program().display()))
        };
        let arguments = template.filled(&[]);
        let said = run::run_successfully(self.run.as_mut(), template.program(), &arguments)
            .map_err(FirewallError::from)?;
        self.listed = Some(self.now);
        let mut ids = BTreeSet::new();
        for line in said.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let id = line.parse().map(GrantId).map_err(|_| {
                failed("it must print the {id} of each open grant, one a line".to_owned())
            })?;
            if self.journal.get(id).is_none() {
                return Err(failed(format!(
                    "grant {id} is open, but the journal does not know it; close it by hand"
                )));
            }
            ids.insert(id);
        }
        Ok(Some(ids))
    }
}
