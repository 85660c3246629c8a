//! The executor: carries out the engine's orders on the firewall and closes grants in time.
//!
//! The clearance checks each order again and does not trust the engine (invariant 5). Time is an argument, so tests run it under
//! a virtual clock.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use tracing::{info, warn};

use crate::adapters::conntrack::Conntrack;
use crate::adapters::firewall::{FirewallDriver, FirewallError};
use crate::core::order::{Order, PAGE, Report, Selection};
use crate::daemon::monitor::boot_protection::BootProtection;
use crate::daemon::monitor::grant_list;
use crate::daemon::monitor::hooks::Hooks;
use crate::model::counters::MonitorCounters;
use crate::model::grant::{Change, Grant, GrantId};
use crate::model::roster::RosterCounters;
use crate::model::settings::Settings;
use crate::model::time::{ClockStep, Timestamp};

#[cfg(test)]
mod announced_tests;
mod firewall_log;
mod open_grants;
mod opening;
mod plan;
#[cfg(test)]
mod renewal_tests;
#[cfg(test)]
mod tests;

use firewall_log::FirewallLog;
use open_grants::{CheckError, EXPIRED, OpenGrants, log_closed, no_result};
use plan::{Origin, Plan, batch, ended, refused};

/// The pause between two batches of expired grants. A program that lists the rules starts again after each change, so it needs one.
const EXPIRY_PAUSE: Duration = Duration::from_millis(100);

pub struct Executor {
    grants: OpenGrants,
    tally: MonitorCounters,
    next_expiry: Timestamp,
    /// The last logged failure of a check, to log each only once.
    check_error: Option<CheckError>,
    firewall_log: FirewallLog,
    boot: Option<BootProtection>,
    /// When the trial removes all rules, unless a knock is admitted or the administrator confirms first.
    trial_end: Option<Timestamp>,
}

impl Executor {
    /// Takes over the firewall: grants of an earlier run stay if they are still due and allowed.
    pub fn open(
        settings: &Settings,
        backend: Box<dyn FirewallDriver>,
        connections: Option<Box<dyn Conntrack>>,
        now: Timestamp,
    ) -> Result<Self, FirewallError> {
        Ok(Self {
            grants: OpenGrants::take_over(settings, backend, connections, now)?,
            tally: MonitorCounters {
                started: now,
                ..MonitorCounters::default()
            },
            next_expiry: Timestamp::default(),
            check_error: None,
            firewall_log: FirewallLog::default(),
            boot: None,
            trial_end: None,
        })
    }

    /// Carries out orders, and closes what has expired.
    pub fn serve(&mut self, now: Timestamp, orders: Vec<Order>) -> Vec<Report> {
        let mut orders = VecDeque::from(orders);
        let mut reports = self.serve_batch(now, &mut orders);
        while !orders.is_empty() {
            reports.extend(self.serve_batch(now, &mut orders));
        }
        reports
    }

    /// Takes the first orders that make one batch, carries them out, and closes what has expired.
    pub(crate) fn serve_batch(
        &mut self,
        now: Timestamp,
        orders: &mut VecDeque<Order>,
    ) -> Vec<Report> {
        let count = batch(orders);
        let orders: Vec<Order> = orders.drain(..count).collect();
        let is_due = self.next_end().is_some_and(|end| end <= now);
        let ready = if orders.is_empty() && !is_due {
            Ok(())
        } else {
            self.grants.correct_ends(now)
        };
        let mut expired = self.expired(now);
        let mut closing: BTreeSet<GrantId> = expired.iter().map(Change::id).collect();
        let plans = orders.into_iter();
        let plans = plans.filter_map(|order| self.plan(now, order, &mut closing));
        let plans: Vec<Plan> = plans.collect();
        let planned = plans.iter().flat_map(Plan::changes);
        let is_extend = |change: &&Change| matches!(change, Change::Extend { .. });
        let extended = planned.clone().filter(is_extend).map(Change::id);
        let extended: BTreeSet<GrantId> = extended.collect();
        // A knock at the end of its grant keeps it open.
        expired.retain(|change| !extended.contains(&change.id()));
        let changes: Vec<Change> = expired.iter().chain(planned).cloned().collect();
        let knocks = expired.iter().map(Change::id);
        let knocks: Vec<u64> = knocks.map(|id| self.grants.ledger.knocks(id)).collect();
        let mut results = self.grants.apply(now, ready, &changes).into_iter();
        for ((change, knocks), result) in expired.iter().zip(knocks).zip(results.by_ref()) {
            match knocks {
                0 | 1 => log_closed(change, &result, EXPIRED),
                more => log_closed(change, &result, &format!("{EXPIRED} after {more} knocks")),
            };
        }
        let plans = plans.into_iter();
        plans
            .flat_map(|plan| self.report(plan, &mut results))
            .collect()
    }

    fn expired(&mut self, now: Timestamp) -> Vec<Change> {
        // Bounded, because the clock may have been set back.
        let pauses = now < self.next_expiry && self.next_expiry.since(now) <= EXPIRY_PAUSE;
        if pauses {
            return Vec::new();
        }
        let expired = self.grants.ledger.due(now, self.grants.backend.batch());
        if !expired.is_empty() {
            self.next_expiry = now.plus(EXPIRY_PAUSE);
        }
        expired
    }

    /// Checks an order. A grant is closed only once in a batch; `closing` has those that already are.
    fn plan(
        &mut self,
        now: Timestamp,
        order: Order,
        closing: &mut BTreeSet<GrantId>,
    ) -> Option<Plan> {
        let mut close_once = |ticket, mut changes: Vec<Change>, by_id| {
            changes.retain(|change| closing.insert(change.id()));
            Plan::Close {
                ticket,
                changes,
                by_id,
            }
        };
        Some(match order {
            Order::Open { ticket, request } => self.plan_open(now, ticket, request, Origin::Here),
            Order::Share { ticket, request } => {
                self.plan_open(now, ticket, request, Origin::Elsewhere)
            }
            Order::Close { ticket, request } => match self.grants.clearance.close(&request) {
                Err(rule) => refused(ticket, rule, rule.sentence()),
                Ok(ports) => close_once(ticket, self.grants.ledger.close(&request, &ports), false),
            },
            Order::End { ticket, which } => {
                let ledger = &mut self.grants.ledger;
                let by_id = matches!(which, Selection::Id(_));
                close_once(
                    ticket,
                    ledger.close_where(|grant| which.includes(grant)),
                    by_id,
                )
            }
            Order::Confirm { ticket } => Plan::Answer(Report::Confirmed {
                ticket,
                trial: self.pass_trial("it was confirmed"),
            }),
            Order::List { ticket } => Plan::List { ticket },
            Order::Firewall { ticket } => Plan::Answer(Report::Firewall {
                ticket,
                state: self.grants.backend.state(),
            }),
            Order::Measure { ticket } => Plan::Answer(Report::Measured {
                ticket,
                tally: self.tally(),
            }),
            // The event loop handles these.
            Order::Loaded
            | Order::Ready
            | Order::Announced { .. }
            | Order::Measured(_)
            | Order::Reload { .. } => {
                return None;
            }
        })
    }

    fn report(
        &mut self,
        plan: Plan,
        results: &mut impl Iterator<Item = Result<(), FirewallError>>,
    ) -> Vec<Report> {
        let mut next = || results.next().unwrap_or_else(|| Err(no_result()));
        match plan {
            Plan::Answer(report) => vec![report],
            Plan::List { ticket } => grant_list::reports(ticket, self.grants.ledger.listed()),
            Plan::Open {
                ticket,
                change,
                origin,
            } => vec![self.report_open(ticket, change, origin, next())],
            Plan::Close {
                ticket,
                changes,
                by_id,
            } => {
                let done = |change: &&Change| log_closed(change, &next(), "as was asked");
                let closed: Vec<&Change> = changes.iter().filter(done).collect();
                let count = closed.len();
                // An engine that has just started does not know what the id was.
                let grants = closed.into_iter().map(|change| ended(change.grants().0));
                let grants: Vec<Grant> = grants.filter(|_| by_id).collect();
                let told = (!grants.is_empty()).then_some(Report::Ended { grants });
                let closed = Report::Closed { ticket, count };
                told.into_iter().chain([closed]).collect()
            }
        }
    }

    /// Puts another config into force, or changes nothing. Grants that it does not allow are closed.
    pub fn reload(&mut self, settings: &Settings, now: Timestamp) -> Result<(), FirewallError> {
        let grants = self.grants.reload(settings, now)?;
        if grants > 0 {
            info!(
                grants,
                "grants that the new config does not allow were closed"
            );
        }
        self.keep_protection();
        Ok(())
    }

    /// The clock was set. The next check rewrites the expiry times in the firewall.
    pub fn clock_was_set(&mut self, step: ClockStep) {
        self.grants.clock_was_set(step);
        self.trial_end = self.trial_end.map(|end| end.stepped(step));
        self.tally.started = self.tally.started.stepped(step);
        self.next_expiry = Timestamp::default();
    }

    /// Checks that the firewall holds what it should, and restores what others changed.
    pub fn check_firewall(&mut self, now: Timestamp) {
        if let Some(hooks) = self.grants.hooks.as_mut() {
            hooks.send_waiting();
        }
        let error = self.grants.check(now).err();
        match (&error, &self.check_error) {
            (Some(now), before) if before.as_ref() != Some(now) => warn!("{now}; trying again"),
            (None, Some(_)) => info!("the firewall is correct again"),
            _ => {}
        }
        self.check_error = error;
        self.keep_protection();
        let (state, obstacle) = (self.grants.backend.state(), self.opens().err());
        self.firewall_log
            .note(state, obstacle, self.check_error.is_some());
    }

    /// Why grants do not open on this host now.
    pub(crate) fn opens(&self) -> Result<(), FirewallError> {
        self.grants.backend.opens()
    }

    /// How often rules were put back, Postern's own or those in the host's chains.
    pub(crate) fn repairs(&self) -> u64 {
        let in_host = self.grants.backend.repairs();
        in_host.saturating_add(self.grants.restored)
    }

    /// From now on these hooks run when a grant opens or ends.
    pub fn attach(&mut self, hooks: Hooks) {
        self.grants.hooks = Some(hooks);
    }

    /// From now on what is installed is kept for the next boot.
    pub(crate) fn keep_for_boot(&mut self, boot: BootProtection) {
        self.boot = Some(boot);
    }

    /// Keeps what was installed since the last time. A trial keeps nothing until it is passed.
    pub(crate) fn keep_protection(&mut self) {
        if let (None, Some(boot)) = (self.trial_end, &mut self.boot)
            && !self.grants.is_kept
        {
            let backend = self.grants.backend.name();
            self.grants.is_kept = boot.keep(backend, &self.grants.protection);
        }
    }

    pub(crate) fn begin_trial(&mut self, end: Timestamp) {
        self.trial_end = Some(end);
    }

    /// When the trial fails; `None` without a trial, or after it was passed.
    pub(crate) fn trial_end(&self) -> Option<Timestamp> {
        self.trial_end
    }

    /// Ends the trial, because somebody can knock or is root on the gate, so nobody is locked out.
    fn pass_trial(&mut self, why: &str) -> bool {
        let was_on_trial = self.trial_end.take().is_some();
        if was_on_trial {
            info!("the trial is over, {why}: the firewall rules stay");
            self.keep_protection();
        }
        was_on_trial
    }

    /// When [`Executor::serve`] next closes a grant.
    pub fn next_end(&self) -> Option<Timestamp> {
        let end = self.grants.ledger.next_end();
        end.map(|end| end.max(self.next_expiry))
    }

    pub fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.grants.ledger.grants()
    }

    /// How many grants were looked at to find those of an order.
    pub fn lookups(&self) -> u64 {
        self.grants.ledger.lookups()
    }

    pub fn tally(&self) -> MonitorCounters {
        MonitorCounters {
            grants: self.grants.ledger.len(),
            faults: self.grants.backend.state().faults(),
            turnover: self.grants.ledger.counters(),
            ..self.tally
        }
    }

    /// Grants that were closed although nobody asked for it and their time was not up, for the other gates of this name.
    pub(crate) fn take_ended(&mut self) -> Vec<Report> {
        let all = std::mem::take(&mut self.grants.ended);
        let parts = all.chunks(PAGE);
        let parts = parts.map(|grants| grants.iter().map(ended).collect());
        parts.map(|grants| Report::Ended { grants }).collect()
    }

    pub(crate) fn count_engine(&mut self) {
        self.tally.engines = self.tally.engines.saturating_add(1);
    }

    /// For the metrics only.
    pub(crate) fn tell_roster(&mut self, roster: Option<RosterCounters>) {
        self.tally.roster = roster;
    }

    pub(crate) fn backend_name(&self) -> &'static str {
        self.grants.backend.name()
    }

    pub fn remove(&mut self) -> Result<(), FirewallError> {
        let removed = self.grants.remove();
        if let Some(boot) = &self.boot {
            boot.forget();
        }
        self.finish_hooks();
        removed
    }

    /// Leaves the firewall as it is when the monitor stops, but closes the grants if the kernel does not end them. Returns how many
    /// stay open.
    pub(crate) fn leave_open(&mut self, now: Timestamp) -> usize {
        if let Err(why) = self.grants.backend.kernel_expiry() {
            let ready = self.grants.correct_ends(now);
            let all = self.grants.ledger.close_where(|_| true);
            let (grants, what) = (all.len(), "every grant is closed before posternd stops");
            info!(
                grants,
                "{what}, because the kernel does not end them: {why}"
            );
            for (change, result) in all.iter().zip(self.grants.apply(now, ready, &all)) {
                log_closed(change, &result, "posternd stops");
            }
        }
        self.finish_hooks();
        self.grants.ledger.len()
    }

    fn finish_hooks(&mut self) {
        if let Some(mut hooks) = self.grants.hooks.take() {
            hooks.finish();
        }
    }
}
