//! Opens and closes the services of one grant, and handles a program that fails.

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
        recorded: &Result<(), FirewallError>,
    ) -> Result<(), FirewallError> {
        match change {
            Change::Open(grant) => recorded.clone().and_then(|()| self.open_or_undo(grant)),
            Change::Extend { old, new } => {
                recorded.clone()?;
                let opened = self.open_all(new);
                // If it failed, the grant stays as it was and is closed at its old end.
                self.journal
                    .put(if opened.is_ok() { new } else { old }, false);
                opened.map_err(|(_, why)| why)
            }
            Change::Close(grant) => {
                // A restart must not open it again, even before its end.
                self.close_recorded(grant.id)
                    .inspect_err(|_| self.journal.put(grant, true))
            }
        }
    }

    fn open_or_undo(&mut self, grant: &Grant) -> Result<(), FirewallError> {
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
        self.overdue.insert(grant.id);
        Err(FirewallError::Program(format!(
            "{why}; and a part of it is open and not closed yet: {also}"
        )))
    }

    /// Opens each service. An error comes with the number of services tried.
    fn open_all(&mut self, grant: &Grant) -> Result<(), (usize, FirewallError)> {
        if !grant.forwards.is_empty() {
            let why = "the backend \"command\" cannot forward a port to another host".to_owned();
            return Err((0, FirewallError::Unsupported(why)));
        }
        let template = self.programs.open.clone();
        for (at, ports) in grant.services.iter().enumerate() {
            self.carry_out(&template, grant, *ports)
                .map_err(|failed| (at.saturating_add(1), failed.into()))?;
        }
        self.missing.remove(&grant.id);
        Ok(())
    }

    pub(super) fn reopen(
        &mut self,
        live: &[Grant],
        listed: Option<&BTreeSet<GrantId>>,
    ) -> Result<Option<FirewallError>, FirewallError> {
        let is_absent = |grant: &&Grant| match self.journal.get(grant.id) {
            None => true,
            Some(record) if record.closing => false,
            Some(_) if self.missing.contains(&grant.id) => true,
            Some(_) => listed.is_some_and(|ids| !ids.contains(&grant.id)),
        };
        let absent: Vec<Grant> = live.iter().filter(is_absent).cloned().collect();
        self.journal.record(absent.iter())?;
        let mut failed = None;
        for grant in &absent {
            if let Err((_, why)) = self.open_all(grant) {
                self.missing.insert(grant.id);
                failed.get_or_insert(why);
            }
        }
        Ok(failed)
    }

    pub(super) fn close_overdue(&mut self) -> Result<(), FirewallError> {
        let mut overdue: Vec<GrantId> = self.overdue.iter().copied().collect();
        overdue.sort_by_key(|id| self.late_closes_of(*id));
        let mut first = None;
        for id in overdue {
            let record = self.journal.get(id).cloned();
            match (self.close_recorded(id), record) {
                (Err(why), Some(Record { grant, .. })) => {
                    self.journal.put(&grant, true);
                    first.get_or_insert(FirewallError::Program(format!(
                        "{grant} is overdue and not closed: {why}"
                    )));
                }
                _ => drop(self.overdue.remove(&id)),
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Closes a grant as the journal records it. Without a record it is already closed.
    fn close_recorded(&mut self, id: GrantId) -> Result<(), FirewallError> {
        let Some(Record { grant, .. }) = self.journal.get(id).cloned() else {
            return Ok(());
        };
        self.close_all(&grant)?;
        self.forget(id);
        Ok(())
    }

    fn close_all(&mut self, grant: &Grant) -> Result<(), FirewallError> {
        let template = self.programs.close.clone();
        let mut first = None;
        for ports in &grant.services {
            match self.carry_out(&template, grant, *ports) {
                Ok(()) => self.reopen_for_others(grant, *ports),
                Err(failed) => {
                    if failed.hung {
                        let hangs = self.late_closes.entry(grant.id).or_default();
                        *hangs = hangs.saturating_add(1);
                    }
                    first.get_or_insert(failed.into());
                }
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Two grants may share one entry of the firewall. The grant that stays is opened again.
    fn reopen_for_others(&mut self, closed: &Grant, ports: Ports) {
        let shares = |record: &&Record| {
            let grant = &record.grant;
            let same = (grant.allow, grant.target) == (closed.allow, closed.target);
            same && grant.id != closed.id
                && !record.closing
                && grant.until > self.now
                && !self.closing.contains(&grant.id)
        };
        let others: Vec<Record> = self.journal.records().filter(shares).cloned().collect();
        let template = self.programs.open.clone();
        for Record { grant: other, .. } in others {
            let mut shared = other.services.clone();
            shared.retain(|theirs| theirs.overlap(ports).is_some());
            for theirs in &shared {
                if self.carry_out(&template, &other, *theirs).is_err() {
                    self.missing.insert(other.id);
                }
            }
        }
    }

    fn forget(&mut self, id: GrantId) {
        self.journal.forget(id);
        self.missing.remove(&id);
        self.late_closes.remove(&id);
    }

    pub(super) fn late_closes_of(&self, id: GrantId) -> u32 {
        self.late_closes.get(&id).copied().unwrap_or_default()
    }

    fn carry_out(
        &mut self,
        template: &CommandTemplate,
        grant: &Grant,
        ports: Ports,
    ) -> Result<(), ProgramFailed> {
        if self.is_late {
            let line = format!(
                "{} was not run, because another program of this step passed its deadline",
                template.program().display()
            );
            return Err(ProgramFailed { line, hung: false });
        }
        let arguments = template.filled(&grant_values(grant, ports, self.now));
        let ran = run::run_successfully(self.run.as_mut(), template.program(), &arguments)
            .inspect_err(|failed| self.is_late = failed.hung);
        ran.map(drop)
    }

    /// The open grants according to the list program; `None` without such a program. A grant that is not in the journal is an error.
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
        self.listed_at = Some(self.now);
        let mut ids = BTreeSet::new();
        for line in said.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let id = line.parse().map(GrantId).map_err(|_| {
                failed("it must print the {id} of each open grant, one per line".to_owned())
            })?;
            if self.journal.get(id).is_none() {
                return Err(failed(format!(
                    "grant {id} is open, but not in the journal; close it by hand"
                )));
            }
            ids.insert(id);
        }
        Ok(Some(ids))
    }
}
