//! The fleet: gates of one name open what one of them has admitted, and close what one of them has closed.
//!
//! A gate publishes its grants at the coordinator, sealed with the fleet key. Another gate takes a grant after these checks: a key
//! opens it, under the gate name; it is not this process's own; it has not ended; it was not closed after it was made; this gate's
//! policy for the user allows it. Only then [`Taken`] gives an order, and the monitor checks it like any other.
//!
//! The coordinator's owner can hold publications back, tell them again and in any order. So nothing depends on their order: a
//! grant has the same id in each of its publications, and to take one twice changes nothing. Closed ids are remembered until all
//! publications of them have ended. Beyond `CLOSED_MAX`, one record in their place closes all grants that were made until
//! then. Grants carry the time when they were made; one made after a close that its gate knew is later than the close, whatever the
//! clocks say. Numbers count for heartbeats alone, which must not come again.

mod closed;
mod closing;
mod content;
mod leftover;
mod members;
mod notice;
mod outbox;
mod refusal;
mod sealing;
mod table;
mod taken;
mod taking;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use closed::{Closed, Untold};
use content::{Content, Said};
use members::Members;
use notice::{NOTICE_LASTS, Notices};
use outbox::{Next, Outbox};
use sealing::Sealing;
use table::{Here, Table};

use crate::core::claims::{Ask, Publish, PublishKind, Told};
use crate::core::clearance::Clearance;
use crate::core::order::Selection;
use crate::model::fleet::{
    ClosedGrant, ClusterGrant, FleetCounters, FleetStatus, SharedId, hexadecimal,
};
use crate::model::grant::{Grant, GrantId};
use crate::model::reason::Rule;
use crate::model::request::{CloseRequest, OpenRequest};
use crate::model::settings::Settings;
use crate::model::time::{Timestamp, millis};

pub use content::SharedGrant;
pub use outbox::BEAT;
pub use refusal::{Refusal, Refused};
pub use sealing::FleetKeys;
pub use taken::Taken;

/// Orders for grants of other gates that wait for the monitor. Knocks have their turn between them.
const ORDERED_MAX: usize = 64;

/// Ids in one close: they fit into one publication.
const CLOSES: usize = 48;

/// Ids in one order: they fit into one message to the monitor.
const ENDS: usize = 2048;

/// The coordinator keeps a heartbeat so long.
const BEAT_LASTS: Duration = Duration::from_secs(10);

/// What this gate shares with the others of its name.
#[derive(Debug)]
pub struct Fleet {
    sealing: Sealing,
    member: String,
    clearance: Clearance,
    /// The longest grant that a policy allows.
    longest: Duration,
    table: Table,
    closed: Closed,
    /// Closed grants that are not stored yet.
    unsaved: Vec<ClosedGrant>,
    /// How many of them there were.
    remembered: u64,
    /// Closes that the coordinator has not told, by their times. They are published again.
    untold: Untold,
    members: Members,
    outbox: Outbox,
    notices: Notices,
    /// Grants of this gate that others have closed.
    to_end: BTreeSet<GrantId>,
    /// What the administrator closed by id, and was shared: the monitor reports it as ended, too.
    ended_by_id: BTreeSet<GrantId>,
    /// Closed grants that the monitor is to close, if they are open.
    leftovers: BTreeMap<SharedId, CloseRequest>,
    ordered: usize,
    behind: Option<String>,
    lag: Option<Duration>,
    /// No time counts as earlier.
    floor: Timestamp,
    counters: FleetCounters,
}

/// A grant of this gate, sealed for the transaction of its claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    made: Timestamp,
    grant: SharedGrant,
}

impl Fleet {
    /// `run` is random and of this process alone.
    pub fn new(keys: FleetKeys, run: [u8; 16], settings: &Settings) -> Self {
        Self {
            sealing: Sealing::new(keys, run),
            member: String::new(),
            clearance: Clearance::new(settings),
            longest: settings.longest_grant(),
            table: Table::default(),
            closed: Closed::default(),
            unsaved: Vec::new(),
            remembered: 0,
            untold: Untold::default(),
            members: Members::default(),
            outbox: Outbox::default(),
            notices: Notices::default(),
            to_end: BTreeSet::new(),
            ended_by_id: BTreeSet::new(),
            leftovers: BTreeMap::new(),
            ordered: 0,
            behind: Some("the cluster process has not started yet".to_owned()),
            lag: None,
            floor: Timestamp::default(),
            counters: FleetCounters::default(),
        }
    }

    /// What the store kept: grants that were closed, and the clock floor.
    pub fn recall(&mut self, closed: Vec<ClosedGrant>, floor: Timestamp) {
        self.floor = floor;
        for grant in closed {
            self.unsaved.extend(self.closed.recall(floor, grant));
        }
    }

    /// There is a new cluster process. This gate has the name `member` among those of its name.
    pub fn connected(&mut self, now: Timestamp, member: &str) {
        member.clone_into(&mut self.member);
        self.outbox.connected(now);
        self.is_behind("the watch begins");
    }

    /// This version of a roster is in force here, 0 for none; `None`: this gate takes none from the coordinator.
    pub fn roster_loaded(&mut self, version: Option<u64>) {
        self.notices.loaded(version);
    }

    pub fn lost(&mut self, why: &str) {
        self.outbox.lost();
        self.is_behind(why);
    }

    /// All that is live is told again.
    fn is_behind(&mut self, why: &str) {
        self.behind = Some(why.to_owned());
        self.closed.tell_again();
        self.untold.clear();
    }

    /// The system's clock, or a later time: the end of a closed grant that is forgotten. A clock that was briefly ahead must not
    /// revive one.
    fn clock(&mut self, now: Timestamp) -> Timestamp {
        let forgotten = self.closed.forget_ended(now);
        self.floor = self.floor.max(forgotten);
        self.table.forget_ended(now);
        now.max(self.floor)
    }

    /// Seals a grant that this gate has admitted, for a knock from there. `None` if it cannot be published.
    pub fn announce(
        &mut self,
        now: Timestamp,
        request: &OpenRequest,
        source: IpAddr,
    ) -> Option<(Announced, Publish)> {
        let grant = SharedGrant::of(request, source, now);
        let (id, until) = (grant.id(), grant.until);
        if !self.table.has_room_for(id, &grant.user) {
            self.count(Refusal::Full.name());
            return None;
        }
        let after = self
            .closed
            .at(&grant.names())
            .map(|at| at.plus(Duration::from_millis(1)));
        let made = after.map_or(now, |after| after.max(now));
        let announced = Announced {
            made,
            grant: grant.clone(),
        };
        let (_, sealed) = self.sealing.seal(&Said {
            member: self.member.clone(),
            made,
            content: Content::Grant(grant),
        })?;
        let publish = Publish {
            kind: PublishKind::Grant,
            name: hexadecimal(&self.sealing.name(&id.0)),
            sealed,
            lasts_ms: millis(until.since(now)),
        };
        Some((announced, publish))
    }

    /// Its claim was won, so the others know it.
    pub fn published(&mut self, Announced { made, grant }: Announced) -> SharedId {
        let names = grant.names();
        let id = names[0];
        // If its close came before the answer to the claim, what opens here is not in the table, so it ends at once.
        if !self.closed.covers(&names, made) {
            self.keep(self.member.clone(), made, grant, Here::Ordered);
        }
        self.counters.published = self.counters.published.saturating_add(1);
        id
    }

    /// What the cluster process tells. It may be anything, in any order, and again.
    pub fn told(&mut self, now: Timestamp, told: &Told) -> Result<(), Refused> {
        match told {
            Told::Published { sealed } => {
                let done = self.take(now, sealed);
                if let Err(refused) = &done {
                    self.count(refused.refusal.name());
                }
                done
            }
            Told::Current => {
                self.behind = None;
                if let Some(untold) = self.closed.untold() {
                    // All that wait to come back are among them.
                    self.outbox.forget_closes();
                    self.untold = untold;
                }
                Ok(())
            }
            Told::Behind { why } => {
                self.is_behind(&crate::core::claims::one_line(why));
                Ok(())
            }
            Told::Claimed { .. } | Told::Back { .. } | Told::Away { .. } => Ok(()),
        }
    }

    /// The next grant of another gate that is to be ordered. It is checked again: it may have waited. Until all that is live has
    /// been told, its close may follow.
    pub fn next_taken(&mut self, now: Timestamp) -> Option<Taken> {
        if self.behind.is_some() {
            return None;
        }
        let now = self.clock(now);
        while self.ordered < ORDERED_MAX {
            let id = self.table.next_wanted()?;
            let Some(entry) = self.table.get(id) else {
                continue;
            };
            match self.request_of(now, entry.made, &entry.grant) {
                Ok(request) => {
                    self.ordered = self.ordered.saturating_add(1);
                    return Some(Taken::new(id, request));
                }
                Err(rule) => {
                    self.table.refuse(id, rule.name());
                    self.count(rule.name());
                }
            }
        }
        None
    }

    /// Grants that are open here and were closed elsewhere, or some of them.
    pub fn take_ended(&mut self) -> Option<Selection> {
        let mut ids = std::mem::take(&mut self.to_end);
        if let Some(next) = ids.iter().nth(ENDS).copied() {
            self.to_end = ids.split_off(&next);
        }
        (!ids.is_empty()).then_some(Selection::Ids(ids))
    }

    /// The order of a taken grant is over.
    pub fn arrived(&mut self) {
        self.ordered = self.ordered.saturating_sub(1);
    }

    /// The firewall opened a shared grant. If it was closed meanwhile, it ends at once.
    pub fn opened(&mut self, id: SharedId, grant: &Grant, is_taken: bool) {
        let (local, until) = (grant.id, grant.until);
        if is_taken {
            self.counters.taken = self.counters.taken.saturating_add(1);
        }
        if !self.table.is_now(id, Here::Open { id: local, until }) {
            self.to_end.insert(local);
        }
    }

    /// The monitor refused it.
    pub fn refused(&mut self, id: SharedId, rule: Rule) {
        self.table.refuse(id, rule.name());
        self.count(rule.name());
    }

    /// Closed grants that ended before are forgotten.
    pub fn floor(&self) -> Timestamp {
        self.floor
    }

    /// How many closes were to be stored until now.
    pub fn remembered(&self) -> u64 {
        self.remembered
    }

    /// Closed grants that must be stored.
    pub fn take_unsaved(&mut self) -> Vec<ClosedGrant> {
        std::mem::take(&mut self.unsaved)
    }

    /// What to ask the cluster process next.
    pub fn next_ask(&mut self, now: Timestamp) -> Option<Ask> {
        self.publish_untold(now);
        match self.outbox.next(now) {
            None if !self.outbox.is_connected() => None,
            None if self.notices.take_look(now) => Some(Ask::LookForRoster),
            None => {
                let roster = self.notices.take_unsaid()?;
                let content = Content::Notice { roster };
                self.publish_own(now, PublishKind::Notice, content, NOTICE_LASTS)
            }
            Some(Next::Ask(ask)) => {
                if ask == Ask::Watch {
                    self.is_behind("the watch begins");
                }
                Some(ask)
            }
            Some(Next::Beat) => {
                self.publish_own(now, PublishKind::Heartbeat, Content::Heartbeat, BEAT_LASTS)
            }
        }
    }

    /// The cluster process did not take this.
    pub fn not_asked(&mut self, ask: &Ask) {
        self.outbox.not_asked(ask);
    }

    /// What this gate says of itself. It replaces what it said before.
    fn publish_own(
        &mut self,
        now: Timestamp,
        kind: PublishKind,
        content: Content,
        lasts: Duration,
    ) -> Option<Ask> {
        let (_, sealed) = self.sealing.seal(&Said {
            member: self.member.clone(),
            made: now,
            content,
        })?;
        Some(Ask::Publish(Publish {
            kind,
            name: hexadecimal(&self.sealing.name(self.member.as_bytes())),
            sealed,
            lasts_ms: millis(lasts),
        }))
    }

    /// How long until there is something to ask.
    pub fn due(&self, now: Timestamp) -> Option<Duration> {
        self.outbox.due(now)
    }

    /// Whether nothing waits that others must know.
    pub fn is_idle(&self, now: Timestamp) -> bool {
        self.unsaved.is_empty() && self.to_end.is_empty() && self.outbox.is_idle(now)
    }

    /// The live grants of all gates.
    pub fn grants(&mut self, now: Timestamp) -> Vec<ClusterGrant> {
        let now = self.clock(now);
        self.table.list(now)
    }

    pub fn status(&mut self, now: Timestamp) -> FleetStatus {
        self.clock(now);
        let mut members = self.members.status(now);
        // Its last engine.
        members.retain(|one| one.member != self.member);
        FleetStatus {
            member: self.member.clone(),
            behind: self.behind.clone(),
            lag_ms: self.lag.map(millis),
            members,
            grants: self.table.len(),
            counters: self.counters.clone(),
        }
    }

    fn count(&mut self, reason: &str) {
        let counter = match self.counters.refused.get_mut(reason) {
            Some(counter) => counter,
            None => self.counters.refused.entry(reason.to_owned()).or_default(),
        };
        *counter = counter.saturating_add(1);
    }
}
