//! The executor: orders come in, the firewall is driven, reports go out, and grants are closed in time.
//!
//! Everything that the monitor decides stands here and in the clearance and the ledger; sockets, signals and processes are
//! `serve`'s. Time is an argument, so scenarios run it under a virtual clock.

use std::collections::BTreeSet;
use std::time::Duration;

use tracing::{info, warn};

use crate::adapters::conntrack::Conntrack;
use crate::adapters::firewall::{FirewallDriver, FirewallError};
use crate::core::clearance::Clearance;
use crate::core::ledger::Ledger;
use crate::core::order::{Order, Report};
use crate::daemon::monitor::hooks::Hooks;
use crate::daemon::monitor::pages;
use crate::model::counters::MonitorCounters;
use crate::model::grant::{Change, Grant, GrantId};
use crate::model::reason::Rule;
use crate::model::request::OpenRequest;
use crate::model::service::Ports;
use crate::model::settings::{Protection, Settings};
use crate::model::time::Timestamp;

mod reconcile;
#[cfg(test)]
mod tests;

/// Between two times that ends are seen to. Ends that come thick are closed together, so that whoever lists the rules meanwhile comes
/// to an end too: a listing that a change disturbs begins anew.
const REST: Duration = Duration::from_millis(100);

/// The ledger, the clearance and the firewall behind them.
pub struct Executor {
    clearance: Clearance,
    protection: Protection,
    ledger: Ledger,
    tally: MonitorCounters,
    backend: Box<dyn FirewallDriver>,
    /// From when on ends are seen to again.
    rested: Timestamp,
    /// What was last said about a firewall that can't be looked at or put right, so as to say it once.
    trouble: Option<String>,
    /// The clock was set, and the ends that stand in the firewall are still those of before.
    is_misdated: bool,
    /// When everything is taken back, unless a knock is admitted or the administrator confirms before.
    trial: Option<Timestamp>,
    /// Told of every grant that opens or ends.
    hooks: Option<Hooks>,
    /// `None` where the kernel lets nobody look at its connections.
    connections: Option<Box<dyn Conntrack>>,
}

/// What an order comes to before the firewall is asked.
enum Plan {
    Open { ticket: u64, change: Change },
    Close { ticket: u64, changes: Vec<Change> },
    Answer(Report),
    List { ticket: u64 },
}

impl Executor {
    /// Takes over the firewall: grants of an earlier run that are still due and still allowed stay, all others go.
    ///
    /// # Errors
    /// When the firewall can't be set up; nothing may then be counted as protected.
    pub fn open(
        settings: &Settings,
        mut backend: Box<dyn FirewallDriver>,
        mut connections: Option<Box<dyn Conntrack>>,
        now: Timestamp,
    ) -> Result<Self, FirewallError> {
        backend.tick(now);
        let clearance = Clearance::new(settings);
        let found = backend.list()?;
        let last_id = found
            .iter()
            .map(|grant| grant.id.0)
            .max()
            .unwrap_or_default();
        let (mut kept, lost): (Vec<Grant>, Vec<Grant>) = found
            .into_iter()
            .partition(|grant| grant.until > now && clearance.still_allows(grant));
        for grant in &mut kept {
            // More can be left only where the clock was set back meanwhile.
            grant.until = grant
                .until
                .min(backend.end(now.plus(clearance.longest(grant))));
        }
        let protection = settings.protection();
        adopt(connections.as_deref_mut(), &protection.services);
        backend.install(&protection, &kept)?;
        // Once more, for those that came about in between.
        adopt(connections.as_deref_mut(), &protection.services);
        if !kept.is_empty() {
            info!(
                grants = kept.len(),
                "grants of the last run are still open and stay until their time"
            );
        }
        if let Err(why) = backend.kernel_expiry() {
            warn!("the kernel does not end grants by itself: {why}; they end while posternd runs");
        }
        let ledger = Ledger::new(last_id, kept);
        let (rested, trouble, is_misdated, trial, hooks) =
            (Timestamp::default(), None, false, None, None);
        let tally = MonitorCounters {
            started: now,
            ..MonitorCounters::default()
        };
        let mut executor = Self {
            clearance,
            protection,
            ledger,
            tally,
            backend,
            rested,
            trouble,
            is_misdated,
            trial,
            hooks,
            connections,
        };
        let ended = lost
            .iter()
            .filter_map(|grant| executor.clearance.ends_connections(grant))
            .collect();
        executor.end_connections(ended);
        Ok(executor)
    }

    /// A config with other rights, protection or services: grants that nobody may have any more are closed.
    ///
    /// # Errors
    /// When the firewall can't be set up; the old settings then stay in force.
    pub fn reload(&mut self, settings: &Settings, now: Timestamp) -> Result<(), FirewallError> {
        self.backend.tick(now);
        let clearance = Clearance::new(settings);
        let protection = settings.protection();
        let lost = self
            .ledger
            .close_where(|grant| !clearance.still_allows(grant));
        // The old config knows users and services that the new one may have lost.
        let ends = |change: &Change| match change {
            Change::Close(grant) => self
                .clearance
                .ends_connections(grant)
                .or_else(|| clearance.ends_connections(grant)),
            Change::Open(_) | Change::Extend { .. } => None,
        };
        let ended: Vec<Grant> = lost.iter().filter_map(ends).collect();
        let stay: Vec<Grant> = self
            .ledger
            .grants()
            .filter(|grant| clearance.still_allows(grant))
            .cloned()
            .collect();
        let is_new = protection.services != self.protection.services;
        let newly = if is_new {
            protection.services.as_slice()
        } else {
            &[]
        };
        adopt(self.connections.as_deref_mut(), newly);
        self.backend.install(&protection, &stay)?;
        adopt(self.connections.as_deref_mut(), newly);
        for change in &lost {
            self.done(change);
        }
        if let Some(hooks) = self.hooks.as_mut() {
            hooks.reload(settings, self.ledger.grants());
        }
        if !lost.is_empty() {
            info!(
                grants = lost.len(),
                "grants that the new config does not allow were closed"
            );
        }
        self.clearance = clearance;
        self.protection = protection;
        self.end_connections(ended);
        Ok(())
    }

    /// Carries out a batch of orders, and closes what is due, in one step of the firewall.
    pub fn serve(&mut self, now: Timestamp, mut orders: Vec<Order>) -> Vec<Report> {
        // A door that one order closes and a later one opens needs two steps: the second must find the first done.
        let after_close = orders
            .iter()
            .skip_while(|order| !closes(order))
            .position(|order| matches!(order, Order::Open { .. }));
        let first_close = orders.iter().position(closes).unwrap_or_default();
        let later = after_close
            .map(|at| orders.split_off(first_close.saturating_add(at)))
            .unwrap_or_default();
        let mut reports = self.serve_step(now, orders);
        if !later.is_empty() {
            reports.extend(self.serve(now, later));
        }
        reports
    }

    fn serve_step(&mut self, now: Timestamp, orders: Vec<Order>) -> Vec<Report> {
        // Bounded, so that a clock that was set back keeps no door open.
        let rests = now < self.rested && self.rested.since(now) <= REST;
        let due = if rests {
            Vec::new()
        } else {
            self.ledger.due(now, self.backend.batch())
        };
        if !due.is_empty() {
            self.rested = now.plus(REST);
        }
        let mut closing = due.iter().map(|change| change.id()).collect();
        let plans: Vec<Plan> = orders
            .into_iter()
            .filter_map(|order| self.plan(now, order, &mut closing))
            .collect();
        let mut changes = due.clone();
        for plan in &plans {
            match plan {
                Plan::Open { change, .. } => changes.push(change.clone()),
                Plan::Close { changes: close, .. } => changes.extend(close.iter().cloned()),
                Plan::Answer(_) | Plan::List { .. } => {}
            }
        }
        let mut results = self.apply(now, &changes);
        for (change, result) in due.iter().zip(results.by_ref()) {
            tell_closed(change, result, "its time is up");
        }
        plans
            .into_iter()
            .flat_map(|plan| self.report(plan, &mut results))
            .collect()
    }

    /// From now on these hooks are told of every grant that opens or ends.
    pub fn attach(&mut self, hooks: Hooks) {
        self.hooks = Some(hooks);
    }

    /// The firewall has done it: the ledger and the hooks are told.
    fn done(&mut self, change: &Change) {
        self.ledger.done(change);
        match (self.hooks.as_mut(), change) {
            (Some(hooks), Change::Open(grant)) => hooks.opened(grant),
            (Some(hooks), Change::Close(grant)) => hooks.closed(grant),
            (_, Change::Extend { .. }) | (None, _) => {}
        }
    }

    /// From now on everything is on trial until `end`.
    pub fn begin_trial(&mut self, end: Timestamp) {
        self.trial = Some(end);
    }

    /// When the trial ends that nobody has passed yet.
    pub fn trial_end(&self) -> Option<Timestamp> {
        self.trial
    }

    /// When [`Executor::serve`] has something to do without any order.
    pub fn next_end(&self) -> Option<Timestamp> {
        self.ledger.next_end().map(|end| end.max(self.rested))
    }

    /// What is open.
    pub fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.ledger.grants()
    }

    /// What was counted so far.
    pub fn tally(&self) -> MonitorCounters {
        MonitorCounters {
            grants: self.ledger.len(),
            turnover: self.ledger.turnover(),
            ..self.tally
        }
    }

    /// Counts an engine that was let go.
    pub fn count_engine(&mut self) {
        self.tally.engines = self.tally.engines.saturating_add(1);
    }

    /// The firewall driver's name.
    pub fn backend_name(&self) -> &'static str {
        self.backend.name()
    }

    /// Takes everything out of the firewall.
    ///
    /// # Errors
    /// What the firewall said.
    pub fn remove(&mut self) -> Result<(), FirewallError> {
        let removed = self.backend.remove();
        if removed.is_ok() {
            self.ledger
                .close_where(|_| true)
                .iter()
                .for_each(|change| self.done(change));
        }
        self.finish();
        removed
    }

    /// The monitor stops: grants that no kernel ends are closed, for nobody else would. Returns how many go on by themselves.
    pub fn rest(&mut self, now: Timestamp) -> usize {
        if let Err(why) = self.backend.kernel_expiry() {
            let all = self.ledger.close_where(|_| true);
            info!(
                grants = all.len(),
                "every grant is closed before posternd stops, for no kernel ends them: {why}"
            );
            for (change, result) in all.iter().zip(self.apply(now, &all)) {
                tell_closed(change, result, "posternd stops");
            }
        }
        self.finish();
        self.ledger.len()
    }

    fn finish(&mut self) {
        if let Some(mut hooks) = self.hooks.take() {
            hooks.finish();
        }
    }

    /// A grant is closed once in a step, however many orders ask for it.
    fn plan(
        &mut self,
        now: Timestamp,
        order: Order,
        closing: &mut BTreeSet<GrantId>,
    ) -> Option<Plan> {
        let mut once = |mut changes: Vec<Change>| {
            changes.retain(|change| closing.insert(change.id()));
            changes
        };
        match order {
            // What an engine says of itself and of its successor is the loop's.
            Order::Loaded | Order::Ready | Order::Measured(_) | Order::Reload { .. } => None,
            Order::Open { ticket, request } => Some(match self.clearance.open(&request) {
                Err(rule) => {
                    warn!(
                        user = request.user,
                        rule = rule.name(),
                        "an order was refused that the gate should not have given: {request}"
                    );
                    refused(ticket, rule, rule.sentence())
                }
                Ok(opening) => {
                    let duration = self.backend.end(now.plus(request.duration)).since(now);
                    let request = OpenRequest {
                        duration,
                        ..request
                    };
                    match self.ledger.open(now, &request, opening) {
                        Ok(change) => Plan::Open { ticket, change },
                        Err(full) => {
                            warn!(
                                user = request.user,
                                rule = Rule::Firewall.name(),
                                "not open: {request}: {full}"
                            );
                            refused(ticket, Rule::Firewall, &full.to_string())
                        }
                    }
                }
            }),
            Order::Close {
                ticket,
                request: wanted,
            } => Some(match self.clearance.close(&wanted) {
                Err(rule) => refused(ticket, rule, rule.sentence()),
                Ok(opening) => Plan::Close {
                    ticket,
                    changes: once(self.ledger.close(&wanted, &opening)),
                },
            }),
            Order::End { ticket, which } => Some(Plan::Close {
                ticket,
                changes: once(self.ledger.close_where(|grant| which.includes(grant))),
            }),
            Order::Confirm { ticket } => Some(Plan::Answer(Report::Confirmed {
                ticket,
                trial: self.pass_trial("it was confirmed"),
            })),
            Order::List { ticket } => Some(Plan::List { ticket }),
            Order::Measure { ticket } => Some(Plan::Answer(Report::Measured {
                ticket,
                tally: self.tally(),
            })),
        }
    }

    /// Drives the firewall and tells the ledger; a change that was not done is taken back, the last first.
    fn apply(
        &mut self,
        now: Timestamp,
        changes: &[Change],
    ) -> std::vec::IntoIter<Result<(), FirewallError>> {
        if changes.is_empty() {
            return Vec::new().into_iter();
        }
        self.backend.tick(now);
        // A driver finds by its end what it is to close, so that ends must be right first.
        let dated = if self.is_misdated {
            self.put_back(now)
        } else {
            Ok(())
        };
        let mut results = match dated {
            Ok(()) => self.backend.apply(changes),
            Err(error) => vec![Err(error); changes.len()],
        };
        results.resize_with(changes.len(), || {
            Err(FirewallError::Unanswered(
                "the firewall driver gave no result".to_owned(),
            ))
        });
        let (done, failed): (Vec<_>, Vec<_>) = changes
            .iter()
            .zip(&results)
            .partition(|(_, result)| result.is_ok());
        done.into_iter().for_each(|(change, _)| self.done(change));
        failed
            .into_iter()
            .rev()
            .for_each(|(change, _)| self.ledger.undo(now, change));
        let ended =
            changes
                .iter()
                .zip(&results)
                .filter_map(|(change, result)| match (change, result) {
                    (Change::Close(grant), Ok(())) => self.clearance.ends_connections(grant),
                    _ => None,
                });
        self.end_connections(ended.collect());
        results.into_iter()
    }

    /// What rests on these grants, which have ended, ends too. Where that fails the doors are closed all the same.
    fn end_connections(&mut self, ended: Vec<Grant>) {
        let Some(connections) = self
            .connections
            .as_deref_mut()
            .filter(|_| !ended.is_empty())
        else {
            return;
        };
        match connections.end(&ended, &mut self.ledger.grants()) {
            Ok(0) => {}
            Ok(count) => info!(
                grants = ended.len(),
                connections = count,
                "connections were ended with their grants"
            ),
            Err(error) => warn!(
                grants = ended.len(),
                "the doors are closed, but connections through them may live on: {error}"
            ),
        }
    }

    fn report(
        &mut self,
        plan: Plan,
        results: &mut impl Iterator<Item = Result<(), FirewallError>>,
    ) -> Vec<Report> {
        let nothing = || {
            Err(FirewallError::Unanswered(
                "the firewall driver gave no result".to_owned(),
            ))
        };
        match plan {
            Plan::Answer(report) => vec![report],
            Plan::List { ticket } => pages::of(ticket, self.ledger.grants()),
            Plan::Open { ticket, change } => {
                vec![match (results.next().unwrap_or_else(nothing), change) {
                    (
                        Ok(()),
                        Change::Open(grant)
                        | Change::Extend { new: grant, .. }
                        | Change::Close(grant),
                    ) => {
                        self.pass_trial("a knock was admitted");
                        info!(user = grant.user, id = grant.id.0, until = %grant.until, "open: {grant}");
                        Report::Opened { ticket, grant }
                    }
                    (
                        Err(error),
                        Change::Open(grant)
                        | Change::Extend { new: grant, .. }
                        | Change::Close(grant),
                    ) => {
                        warn!(
                            user = grant.user,
                            rule = Rule::Firewall.name(),
                            "not open: {grant}: {error}"
                        );
                        Report::Refused {
                            ticket,
                            rule: Rule::Firewall,
                            why: error.to_string(),
                        }
                    }
                }]
            }
            Plan::Close { ticket, changes } => {
                let closed = changes.iter().map(|change| {
                    tell_closed(
                        change,
                        results.next().unwrap_or_else(nothing),
                        "as was asked",
                    )
                });
                let count = closed.filter(|done| *done).count();
                vec![Report::Closed { ticket, count }]
            }
        }
    }

    /// Whoever can knock, or be root on the gate, is not locked out.
    fn pass_trial(&mut self, why: &str) -> bool {
        let was_on_trial = self.trial.take().is_some();
        if was_on_trial {
            info!("the trial is over, {why}: Postern stays");
        }
        was_on_trial
    }
}

/// Connections that are older than connection tracking must not be cut by the protection.
fn adopt(connections: Option<&mut (dyn Conntrack + 'static)>, protected: &[Ports]) {
    let Some(connections) = connections.filter(|_| !protected.is_empty()) else {
        return;
    };
    match connections.adopt(protected) {
        Ok(0) => {}
        Ok(count) => info!(
            connections = count,
            "connections that are open on protected ports were made known to connection tracking"
        ),
        Err(error) => warn!("connections that are open on protected ports may be cut: {error}"),
    }
}

fn refused(ticket: u64, rule: Rule, why: &str) -> Plan {
    Plan::Answer(Report::Refused {
        ticket,
        rule,
        why: why.to_owned(),
    })
}

fn closes(order: &Order) -> bool {
    matches!(order, Order::Close { .. } | Order::End { .. })
}

/// Logs a close and says whether it was done.
fn tell_closed(change: &Change, result: Result<(), FirewallError>, why: &str) -> bool {
    let Change::Close(grant) = change else {
        return false;
    };
    match &result {
        Ok(()) => info!(user = grant.user, id = grant.id.0, "closed, {why}: {grant}"),
        Err(error) => warn!(
            user = grant.user,
            id = grant.id.0,
            "not closed, trying again: {grant}: {error}"
        ),
    }
    result.is_ok()
}
