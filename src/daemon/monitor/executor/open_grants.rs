//! The open grants: keeps ledger, firewall, connections and hooks in step.
//!
//! A change counts as done only after the firewall did it; a change that failed is undone in the ledger.

use tracing::{info, warn};

use crate::adapters::conntrack::Conntrack;
use crate::adapters::firewall::{FirewallDriver, FirewallError};
use crate::core::clearance::Clearance;
use crate::core::ledger::Ledger;
use crate::daemon::monitor::hooks::Hooks;
use crate::model::grant::{Change, Grant};
use crate::model::service::Ports;
use crate::model::settings::{Protection, Settings};
use crate::model::time::{ClockStep, Timestamp};

pub(super) const EXPIRED: &str = "its time is up";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CheckError {
    #[error("the expiry times of grants can't be rewritten: {0}")]
    StaleEnds(FirewallError),
    #[error("another program changed the firewall, and it can't be restored: {0}")]
    NotRestored(FirewallError),
    #[error("the rules in the firewall are incomplete, and the rest can't be installed: {0}")]
    Incomplete(FirewallError),
    #[error("the firewall can't be read: {0}")]
    Unreadable(FirewallError),
}

pub(super) struct OpenGrants {
    pub(super) ledger: Ledger,
    pub(super) backend: Box<dyn FirewallDriver>,
    pub(super) clearance: Clearance,
    pub(super) protection: Protection,
    /// Whether the protection is kept for the next boot.
    pub(super) is_kept: bool,
    pub(super) hooks: Option<Hooks>,
    /// `None` if the kernel does not give access to its connections.
    connections: Option<Box<dyn Conntrack>>,
    /// Expiry times in the firewall are stale, because the clock was set.
    are_ends_stale: bool,
    /// The last installation failed, and a part of it may be in force.
    is_incomplete: bool,
    /// Closed by a reload or by somebody who removed them from a set of the host, and not told yet.
    pub(super) ended: Vec<Grant>,
    /// How often everything was restored.
    pub(super) restored: u64,
}

impl OpenGrants {
    pub(super) fn take_over(
        settings: &Settings,
        mut backend: Box<dyn FirewallDriver>,
        mut connections: Option<Box<dyn Conntrack>>,
        now: Timestamp,
    ) -> Result<Self, FirewallError> {
        backend.tick(now);
        let clearance = Clearance::new(settings);
        let found = backend.list()?;
        let last_id = found.iter().map(|grant| grant.id.0).max();
        let (mut kept, lost): (Vec<Grant>, Vec<Grant>) = found
            .into_iter()
            .partition(|grant| grant.until > now && clearance.still_allows(grant, now));
        for grant in &mut kept {
            // More time can be left only if the clock was set back meanwhile.
            let latest = backend.end(clearance.latest_end(&grant.user, now));
            grant.until = grant.until.min(latest);
        }
        let protection = settings.protection();
        adopt(connections.as_deref_mut(), &protection.services);
        let protection = install(backend.as_mut(), &protection, &kept)?;
        // Again, for connections that were opened in between.
        adopt(connections.as_deref_mut(), &protection.services);
        if !kept.is_empty() {
            let grants = kept.len();
            info!(
                grants,
                "grants of the last run are still open and stay until their time"
            );
        }
        if let Err(why) = backend.kernel_expiry() {
            warn!("the kernel does not end grants by itself: {why}; they end while posternd runs");
        }
        let mut grants = Self {
            ledger: Ledger::new(last_id.unwrap_or_default(), kept),
            backend,
            clearance,
            protection,
            is_kept: false,
            hooks: None,
            connections,
            are_ends_stale: false,
            is_incomplete: false,
            ended: Vec::new(),
            restored: 0,
        };
        grants.end_connections_of(&lost);
        Ok(grants)
    }

    pub(super) fn reload(
        &mut self,
        settings: &Settings,
        now: Timestamp,
    ) -> Result<usize, FirewallError> {
        self.backend.tick(now);
        let clearance = Clearance::new(settings);
        let protection = settings.protection();
        let grants = self.ledger.grants().cloned();
        let (mut stay, lost): (Vec<Grant>, Vec<Grant>) =
            grants.partition(|grant| clearance.still_allows(grant, now));
        for grant in &mut stay {
            grant.until = clearance.end(grant);
        }
        let newly_protected = if protection.services == self.protection.services {
            &[]
        } else {
            protection.services.as_slice()
        };
        adopt(self.connections.as_deref_mut(), newly_protected);
        let protection = match self.install(&protection, &stay) {
            Ok(installed) => installed,
            Err(error) => {
                // One family may have the new protection, and the config that stays in force is the old one.
                let old = self.protection.clone();
                // If that fails, too, each look tries it again.
                let _ = self.install(&old, &self.live(now));
                return Err(error);
            }
        };
        adopt(self.connections.as_deref_mut(), newly_protected);
        // The old config knows users and services that the new one may have lost.
        let ends = |grant: &Grant| {
            let by_old = self.clearance.ends_connections(grant);
            by_old.or_else(|| clearance.ends_connections(grant))
        };
        let ended: Vec<Grant> = lost.iter().filter_map(ends).collect();
        let closed = lost.len();
        self.ended.extend(lost.iter().cloned());
        for grant in lost {
            self.done(&Change::Close(grant));
        }
        self.ledger.shorten(|grant| clearance.end(grant));
        if let Some(hooks) = self.hooks.as_mut() {
            hooks.reload(settings, self.ledger.grants());
        }
        self.clearance = clearance;
        self.protection = protection;
        self.is_kept = false;
        self.end_connections(&ended);
        Ok(closed)
    }

    /// A driver finds what it closes by its expiry time, so stale times are rewritten before anything is planned: what is
    /// planned is in the ledger, and would be installed with them.
    pub(super) fn correct_ends(&mut self, now: Timestamp) -> Result<(), FirewallError> {
        if self.are_ends_stale {
            self.backend.tick(now);
            self.restore(now)?;
        }
        Ok(())
    }

    /// Carries out changes, unless the end times are not `ready`.
    pub(super) fn apply(
        &mut self,
        now: Timestamp,
        ready: Result<(), FirewallError>,
        changes: &[Change],
    ) -> Vec<Result<(), FirewallError>> {
        if changes.is_empty() {
            return Vec::new();
        }
        self.backend.tick(now);
        let mut results = match ready {
            Ok(()) => self.backend.apply(changes),
            Err(error) => vec![Err(error); changes.len()],
        };
        results.resize_with(changes.len(), || Err(no_result()));
        let mut closed = Vec::new();
        for (change, result) in changes.iter().zip(&results) {
            if result.is_ok() {
                self.done(change);
                closed.extend(closed_grant(change));
            }
        }
        // The last one first: a later change may build on an earlier one.
        for (change, result) in changes.iter().zip(&results).rev() {
            if result.is_err() {
                self.ledger.undo(now, change);
            }
        }
        self.end_connections_of(&closed);
        results
    }

    /// Prepares one change, asks whether it is wanted, and carries it out. `None` if it is not wanted.
    pub(super) fn apply_if(
        &mut self,
        now: Timestamp,
        change: &Change,
        is_wanted: &mut dyn FnMut() -> bool,
    ) -> Option<Result<(), FirewallError>> {
        self.backend.tick(now);
        let mut is_ordered = false;
        let mut ask = || {
            is_ordered = is_wanted();
            is_ordered
        };
        let result = self.backend.apply_if(change, &mut ask);
        // A driver may fail before it asks. The order itself tells why, when it comes.
        let result = is_ordered.then(|| result.unwrap_or_else(|| Err(no_result())));
        match &result {
            Some(Ok(())) => self.done(change),
            Some(Err(_)) | None => self.ledger.undo(now, change),
        }
        result
    }

    pub(super) fn remove(&mut self) -> Result<(), FirewallError> {
        self.backend.remove()?;
        for change in self.ledger.close_where(|_| true) {
            self.done(&change);
        }
        Ok(())
    }

    pub(super) fn clock_was_set(&mut self, step: ClockStep) {
        self.ledger.shift(step);
        // A user's end is a time of the clock.
        self.ledger.shorten(|grant| self.clearance.end(grant));
        self.are_ends_stale = true;
    }

    pub(super) fn check(&mut self, now: Timestamp) -> Result<(), CheckError> {
        self.backend.tick(now);
        if self.are_ends_stale {
            return self.restore(now).map_err(CheckError::StaleEnds);
        }
        if self.is_incomplete {
            return self.restore(now).map_err(CheckError::Incomplete);
        }
        match self.backend.verify() {
            Ok(true) => {
                self.close_removed(now);
                Ok(())
            }
            Ok(false) => self.restore(now).map_err(CheckError::NotRestored),
            Err(error) => Err(CheckError::Unreadable(error)),
        }
    }

    fn close_removed(&mut self, now: Timestamp) {
        let removed = self.backend.take_removed();
        let changes = self.ledger.close_where(|grant| removed.contains(&grant.id));
        let removed = changes.iter().map(|change| change.grants().0);
        self.ended.extend(removed.cloned());
        for (change, result) in changes.iter().zip(self.apply(now, Ok(()), &changes)) {
            log_closed(
                change,
                &result,
                "somebody removed it from a set of the host",
            );
        }
    }

    fn restore(&mut self, now: Timestamp) -> Result<(), FirewallError> {
        let live = self.live(now);
        let is_over = |grant: &&Grant| grant.until <= now;
        let over: Vec<Grant> = self.ledger.grants().filter(is_over).cloned().collect();
        let was_incomplete = self.is_incomplete;
        let protection = self.protection.clone();
        self.protection = self.install(&protection, &live)?;
        self.restored = self.restored.saturating_add(1);
        self.is_kept = false;
        let grants = live.len();
        if std::mem::take(&mut self.are_ends_stale) {
            info!(grants, "the expiry times of {grants} grants were rewritten");
        } else {
            let what = format!("protection and {grants} grants were restored");
            let why = if was_incomplete {
                "an installation had failed"
            } else {
                "another program changed the firewall"
            };
            warn!(grants, "{why}; {what}");
        }
        for grant in &over {
            let change = Change::Close(grant.clone());
            self.done(&change);
            log_closed(&change, &Ok(()), EXPIRED);
        }
        self.end_connections_of(&over);
        Ok(())
    }

    fn live(&self, now: Timestamp) -> Vec<Grant> {
        let is_live = |grant: &&Grant| grant.until > now;
        self.ledger.grants().filter(is_live).cloned().collect()
    }

    /// Returns what was installed.
    fn install(
        &mut self,
        protection: &Protection,
        live: &[Grant],
    ) -> Result<Protection, FirewallError> {
        let installed = install(self.backend.as_mut(), protection, live);
        self.is_incomplete = installed.is_err();
        installed
    }

    fn done(&mut self, change: &Change) {
        self.ledger.done(change);
        match (self.hooks.as_mut(), change) {
            (Some(hooks), Change::Open(grant)) => hooks.opened(grant),
            (Some(hooks), Change::Close(grant)) => hooks.closed(grant),
            (_, Change::Extend { .. }) | (None, _) => {}
        }
    }

    fn end_connections_of(&mut self, closed: &[Grant]) {
        let closed = closed.iter();
        let ended = closed.filter_map(|grant| self.clearance.ends_connections(grant));
        let ended: Vec<Grant> = ended.collect();
        self.end_connections(&ended);
    }

    /// A failure is only logged: the grants are closed all the same.
    fn end_connections(&mut self, ended: &[Grant]) {
        let connections = self.connections.as_deref_mut();
        let Some(connections) = connections.filter(|_| !ended.is_empty()) else {
            return;
        };
        let grants = ended.len();
        match connections.end(ended, &mut self.ledger.grants()) {
            Ok(0) => {}
            Ok(connections) => {
                info!(
                    grants,
                    connections, "connections were ended with their grants"
                )
            }
            Err(error) => {
                let what = "the grants are closed, but their connections may stay open";
                warn!(grants, "{what}: {error}")
            }
        }
    }
}

/// Installs everything. A kernel without NFLOG gets the same rules without it.
fn install(
    backend: &mut dyn FirewallDriver,
    protection: &Protection,
    live: &[Grant],
) -> Result<Protection, FirewallError> {
    let Err(error) = backend.install(protection, live) else {
        return Ok(protection.clone());
    };
    if protection.nflog_group.is_none() && protection.sensor.is_none() {
        return Err(error);
    }
    let without = Protection {
        nflog_group: None,
        ..protection.clone()
    };
    let Some(sensor) = protection.sensor else {
        backend.install(&without, live)?;
        warn!("attempts without a grant are not shown: {error}");
        return Ok(without);
    };
    if backend.install(&without, live).is_ok() {
        warn!("attempts without a grant are not shown: {error}");
        return Ok(without);
    }
    // Services stay hidden, but a gate without its sensor hears nobody, so this is a failure.
    let deaf = Protection {
        sensor: None,
        ..without
    };
    if backend.install(&deaf, live).is_err() {
        return Err(error);
    }
    let group = sensor.group;
    Err(error.and(FirewallError::Unsupported(format!(
        "no rule can send knocks to group {group} of NFLOG; write capture = \"packet\" in [gate]"
    ))))
}

/// Makes connections known to connection tracking that are older than it, so that the protection does not cut them.
fn adopt(connections: Option<&mut (dyn Conntrack + 'static)>, protected: &[Ports]) {
    let Some(connections) = connections.filter(|_| !protected.is_empty()) else {
        return;
    };
    match connections.adopt(protected) {
        Ok(0) => {}
        Ok(connections) => info!(
            connections,
            "connections that are open on protected ports were made known to connection tracking"
        ),
        Err(error) => warn!("connections that are open on protected ports may be cut: {error}"),
    }
}

fn closed_grant(change: &Change) -> Option<Grant> {
    match change {
        Change::Close(grant) => Some(grant.clone()),
        Change::Open(_) | Change::Extend { .. } => None,
    }
}

pub(super) fn no_result() -> FirewallError {
    FirewallError::Unanswered("the firewall driver gave no result".to_owned())
}

pub(super) fn log_closed(change: &Change, result: &Result<(), FirewallError>, why: &str) -> bool {
    let Change::Close(grant) = change else {
        return false;
    };
    let (user, id) = (&grant.user, grant.id.0);
    match result {
        Ok(()) => info!(user, id, "closed, {why}: {grant}"),
        Err(error) => warn!(user, id, "not closed, trying again: {grant}: {error}"),
    }
    result.is_ok()
}
