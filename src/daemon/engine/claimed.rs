//! Step 11, with a cluster: after its mark is durable, a knock is claimed at the coordinator before anything is ordered.

use std::time::Duration;

use tracing::{info, trace};

use super::claiming::{Admitted, Claiming, user_of};
use super::core::Core;
use super::sample::FLOOD;
use crate::core::claims::{Ask, Outcome, Told};
use crate::core::gate::again;
use crate::core::order::Order;
use crate::model::cluster::Cluster;
use crate::model::reason::{CodeFault, Drop, Reason, Rule};
use crate::model::time::Timestamp;

const BY_ANOTHER: &str = "another gate admitted this knock first";

impl Core {
    /// Knocks are claimed from now on.
    pub fn join_cluster(&mut self, gate_name: &str, cluster: &Cluster) {
        let window = self.gate.longest_window();
        self.claiming = Some(Claiming::new(gate_name, window, cluster));
    }

    /// There is a new cluster process.
    pub fn cluster_connected(&mut self, now: Timestamp) {
        if let Some(claiming) = self.claiming.as_mut() {
            let unanswered = claiming.claims.connected();
            self.unknown(now, unanswered, "the cluster process has ended");
        }
    }

    /// The cluster process has ended.
    pub fn cluster_lost(&mut self, now: Timestamp, why: &str) {
        if let Some(claiming) = self.claiming.as_mut() {
            let unanswered = claiming.claims.ended(why);
            self.unknown(now, unanswered, why);
        }
    }

    /// The cluster process takes no message now. A claim is refused at once, and all else is asked again.
    pub fn not_asked(&mut self, now: Timestamp, ask: Ask, why: &str) {
        if let Some(fleet) = self.fleet.as_mut() {
            fleet.not_asked(&ask);
        }
        if let Some(claiming) = self.claiming.as_mut() {
            let unsent = claiming.claims.not_taken(ask, why);
            self.unknown(now, unsent, why);
        }
    }

    /// Nobody answers the claims of these knocks.
    fn unknown(&mut self, now: Timestamp, knocks: Vec<Admitted>, why: &str) {
        for admitted in knocks {
            let why = why.to_owned();
            self.not_won(now, &admitted, Outcome::Unknown { why });
        }
    }

    /// What to send to the cluster process next. What cannot be asked in time is refused.
    pub fn next_ask(&mut self, now: Timestamp) -> Option<Ask> {
        loop {
            let claiming = self.claiming.as_mut()?;
            if let Some((admitted, outcome)) = claiming.claims.overdue(now) {
                self.not_won(now, &admitted, outcome);
                continue;
            }
            match claiming.ask_next(now, self.fleet.as_mut()) {
                None => {
                    let claim = claiming.claims.next_ask();
                    return claim.or_else(|| self.fleet.as_mut()?.next_ask(now));
                }
                Some(Ok(())) => {}
                Some(Err((admitted, outcome))) => self.not_won(now, &admitted, outcome),
            }
        }
    }

    /// How long until a claim is overdue, or another gate must hear of this one.
    pub(super) fn next_cluster_due(&self, now: Timestamp) -> Option<Duration> {
        let claiming = self.claiming.as_ref()?;
        // An overdue heartbeat goes behind the probe. A full link is tried again with the next tick, not at once.
        let fleet = self.fleet.as_ref();
        let fleet = fleet.filter(|_| !claiming.claims.is_probe_due());
        let beat = fleet.and_then(|fleet| fleet.due(now));
        let claim = claiming.claims.next_due(now);
        claim.into_iter().chain(beat).min()
    }

    /// Only a claim that was asked, and won in time, gives an order.
    pub fn told(&mut self, now: Timestamp, told: Told) -> Option<Order> {
        if matches!(
            told,
            Told::Published { .. } | Told::Current | Told::Behind { .. }
        ) {
            self.hear(now, &told);
            return None;
        }
        let claims = &mut self.claiming.as_mut()?.claims;
        let (ticket, admitted, outcome) = claims.told(now, told)?;
        if outcome == Outcome::Won {
            let shared = self.share(now, &admitted.admission.request, admitted.announced);
            return Some(self.order(ticket, admitted.admission.request, shared));
        }
        self.not_won(now, &admitted, outcome);
        None
    }

    /// The mark stays used: another gate may have won, and the answer may be on its way.
    fn not_won(&mut self, now: Timestamp, admitted: &Admitted, outcome: Outcome) {
        let user = user_of(&admitted.admission.request);
        match outcome {
            Outcome::Won => {}
            Outcome::Lost { made } => {
                let reason = lost(made, admitted.arrived);
                self.gate.count_drop(reason);
                let rule = reason.name();
                if self.refused_lines.may_log(now, Reason::Drop(reason)) {
                    info!(user, rule, "dropped: {user}: {BY_ANOTHER}");
                } else {
                    trace!(target: FLOOD, user, rule, "dropped: {user}: {BY_ANOTHER}");
                }
            }
            Outcome::CodeLost => {
                let rule = Rule::Code(CodeFault::Used);
                self.refuse(now, user, rule, "another gate admitted a knock with it");
            }
            Outcome::Unknown { why } => self.refuse(now, user, Rule::Coordinator, &why),
        }
        self.knock_done(user);
    }
}

/// A copy at another gate comes at about the same time, and the clocks of the gates differ.
fn lost(made: Timestamp, arrived: Timestamp) -> Drop {
    again(made.min(arrived), made.max(arrived))
}
