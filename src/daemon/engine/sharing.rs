//! What the gates of one name share: grants of this gate go to the others, and theirs are ordered here.
//!
//! What comes from the cluster process is hostile. An order for a grant of another gate can be had only from a
//! [`Taken`](crate::core::fleet::Taken).

use tracing::{info, warn};

use super::claiming::Claiming;
use super::commit::Commit;
use super::core::{Core, Waiting};
use crate::adapters::clock;
use crate::adapters::control::Answer;
use crate::adapters::control::status::ClusterStatus;
use crate::core::claims::Told;
use crate::core::fleet::{Announced, Fleet, Refusal, Refused};
use crate::core::gate::ApprovedRequest;
use crate::core::order::{Order, Report, Selection};
use crate::model::fleet::{ClosedGrant, FleetStatus, SharedId};
use crate::model::grant::Grant;
use crate::model::reason::Rule;
use crate::model::time::Timestamp;

impl Core {
    /// Grants are shared from now on.
    pub fn join_fleet(&mut self, fleet: Fleet) {
        self.fleet = Some(fleet);
    }

    /// There is a new cluster process. This gate has the name `member` among those of its name.
    pub fn fleet_connected(&mut self, now: Timestamp, member: &str) {
        if let Some(fleet) = self.fleet.as_mut() {
            fleet.connected(now, member);
        }
    }

    /// The version of the roster in force, which other gates hear of.
    pub(super) fn roster_loaded(&mut self, version: Option<u64>) {
        if let Some(fleet) = self.fleet.as_mut() {
            fleet.roster_loaded(version);
        }
    }

    /// The cluster process has ended.
    pub fn fleet_lost(&mut self, why: &str) {
        if let Some(fleet) = self.fleet.as_mut() {
            fleet.lost(why);
        }
    }

    /// The claim of a knock was won: what it opens is published with it, what it closes is published now.
    pub(super) fn share(
        &mut self,
        now: Timestamp,
        request: &ApprovedRequest,
        announced: Option<Announced>,
    ) -> Option<SharedId> {
        let fleet = self.fleet.as_mut()?;
        if let ApprovedRequest::Close(request) = request {
            fleet.close(now, request);
        }
        Some(fleet.published(announced?))
    }

    pub(super) fn hear(&mut self, now: Timestamp, told: &Told) {
        let Some(Err(refused)) = self.fleet.as_mut().map(|fleet| fleet.told(now, told)) else {
            return;
        };
        let Refused {
            refusal,
            member,
            user,
        } = refused;
        let name = refusal.name();
        // Usual when all that is live is told.
        if matches!(refusal, Refusal::Ended | Refusal::Closed | Refusal::Stale) {
            return;
        }
        if !self.publication_lines.may_log(now, name) {
            return;
        }
        let member = member.as_deref().unwrap_or("somebody");
        match user {
            Some(user) => info!(
                member,
                user,
                reason = name,
                "refused: a grant of {user} that {member} published: {}",
                refusal.sentence()
            ),
            None => info!(
                member,
                reason = name,
                "refused: a publication of {member}: {}",
                refusal.sentence()
            ),
        }
    }

    /// The order that ends what another gate has closed.
    pub(super) fn next_ended(&mut self) -> Option<Order> {
        let which = self.fleet.as_mut()?.take_ended()?;
        let ticket = self.ticket();
        self.ordered.insert(ticket, Waiting::Ending);
        Some(Order::End { ticket, which })
    }

    /// The next order for what another gate has admitted or closed.
    pub fn next_shared(&mut self, now: Timestamp) -> Option<Order> {
        if let Some(order) = self.next_ended() {
            return Some(order);
        }
        if let Some(request) = self.fleet.as_mut()?.take_leftover() {
            let ticket = self.ticket();
            self.ordered.insert(ticket, Waiting::Leftover);
            return Some(Order::Close { ticket, request });
        }
        let taken = self.fleet.as_mut()?.next_taken(now)?;
        let ticket = self.ticket();
        self.ordered
            .insert(ticket, Waiting::Shared { id: taken.id() });
        Some(taken.order(ticket))
    }

    /// The monitor reports on a grant of another gate.
    pub(super) fn shared(&mut self, id: SharedId, report: Report) {
        let Some(fleet) = self.fleet.as_mut() else {
            return;
        };
        fleet.arrived();
        match report {
            Report::Opened { grant, .. } => fleet.opened(id, &grant, true),
            Report::Refused { rule, why, .. } => {
                fleet.refused(id, rule);
                if self.publication_lines.may_log(clock::wall(), rule.name()) {
                    info!(
                        rule = rule.name(),
                        "a grant of another gate is not open: {why}"
                    );
                }
            }
            report => warn!(?report, "the monitor answered something else"),
        }
    }

    /// The monitor opened what a knock asked for.
    pub(super) fn shared_is_open(&mut self, id: Option<SharedId>, report: &Report) {
        if let (Some(fleet), Some(id), Report::Opened { grant, .. }) =
            (self.fleet.as_mut(), id, report)
        {
            fleet.opened(id, grant, false);
        }
    }

    pub(super) fn shared_is_refused(&mut self, id: Option<SharedId>, rule: Rule) {
        if let Some((fleet, id)) = self.fleet.as_mut().zip(id) {
            fleet.refused(id, rule);
        }
    }

    /// The administrator closes grants here, so they are closed at every gate.
    pub(super) fn close_shared(&mut self, now: Timestamp, which: &Selection) {
        if let Some(fleet) = self.fleet.as_mut() {
            fleet.end(now, which);
        }
    }

    /// The monitor has closed these grants, so they are closed at every gate.
    pub fn grants_ended(&mut self, now: Timestamp, grants: &[Grant]) {
        if let Some(fleet) = self.fleet.as_mut() {
            fleet.ended(now, grants);
        }
    }

    /// Closed grants are stored, so that none opens after a restart. Orders do not wait for the disk, answers do.
    pub fn commit_closed(&mut self) -> Option<Commit> {
        let closed = self.fleet.as_mut()?.take_unsaved();
        if closed.is_empty() {
            return None;
        }
        let all = closed.iter().find(|grant| grant.id == ClosedGrant::ALL);
        if let Some(all) = all.filter(|all| self.publication_lines.may_log(all.at, "closes")) {
            warn!(
                "too many closes are remembered: no grant of another gate that was made before {} opens here, until {}",
                all.at, all.until
            );
        }
        let mut change = self.gate.take_unsaved();
        change.closed = closed;
        let fleet = self.fleet.as_ref()?;
        change.closed_floor = fleet.floor();
        let last = fleet.remembered();
        let ticket = self.ticket();
        self.remembering.saves(ticket, last);
        Some(Commit::new(ticket, change, None))
    }

    pub(super) fn is_fleet_idle(&self) -> bool {
        let fleet = self.fleet.as_ref();
        fleet.is_none_or(|fleet| fleet.is_idle(clock::wall()))
    }

    pub(super) fn cluster_status(&mut self, now: Timestamp) -> Option<ClusterStatus> {
        let fleet = self.fleet.as_mut().map(|fleet| fleet.status(now));
        let mut status = self.claiming.as_ref().map(Claiming::status)?;
        status.fleet = fleet;
        Some(status)
    }

    pub(super) fn fleet_status(&mut self) -> Option<FleetStatus> {
        let fleet = self.fleet.as_mut();
        fleet.map(|fleet| fleet.status(clock::wall()))
    }

    pub(super) fn cluster_grants(&mut self, now: Timestamp) -> Answer {
        match self.fleet.as_mut() {
            Some(fleet) => Answer::ClusterGrants(fleet.grants(now)),
            None => {
                let why = "this gate shares no grants: [cluster] has no fleet_key_file";
                Answer::Failed(why.to_owned())
            }
        }
    }
}
