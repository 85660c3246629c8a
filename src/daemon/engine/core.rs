//! The engine's core: from a datagram to a commit, from a durable mark to an order, from a report to a log line.
//!
//! Carries out steps 11 and 12 of `proto/README.md`, section 6; the gate does steps 1 to 10. Time is an argument and nothing blocks,
//! so scenarios run it under a virtual clock.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tracing::{debug, error, info, trace, warn};

use super::claiming::{Admitted, Claiming, user_of};
use super::clock_fault::{ClockFault, warn_of_clock};
use super::commit::Commit;
use super::health::Health;
use super::publication_lines::PublicationLines;
use super::remembering::Remembering;
use super::sample::{FLOOD, Sampler};
use super::shares::{Entry, Shares};
use crate::adapters::control::{self, Answer, Client, Question};
use crate::core::attempts::AttemptLog;
use crate::core::fleet::Fleet;
use crate::core::gate::{ApprovedRequest, Decision, FwknopRow, Gate, Refusal};
use crate::core::order::{Order, Report};
use crate::core::sequence::Hit;
use crate::model::datagram::Datagram;
use crate::model::fleet::SharedId;
use crate::model::grant::ListedGrant;
use crate::model::kept_name::UserName;
use crate::model::reason::{Drop, Reason, Rule};
use crate::model::time::{ClockStep, Timestamp, human};

/// Knocks between the gate and the firewall, of all users. If there are more, the store or the monitor hangs.
const PENDING_MAX: usize = 4096;

const REFUSALS_EVERY: Duration = Duration::from_millis(100);

/// The gate, and everything that waits for the store or the monitor.
#[derive(Debug)]
pub struct Core {
    pub(super) gate: Gate,
    pub(super) gate_name: String,
    /// `None` without a cluster.
    pub(super) claiming: Option<Claiming>,
    /// `None` without a fleet key.
    pub(super) fleet: Option<Fleet>,
    pub(super) remembering: Remembering,
    pub(super) started: Timestamp,
    last_ticket: u64,
    /// The admitted knocks that wait for the store or the monitor, and those that wait for their turn.
    shares: Shares<Admitted>,
    /// Knocks whose turn has come.
    ready: VecDeque<Admitted>,
    /// The commit of refused knocks alone that is being stored, and when the next may start.
    refusals: Option<u64>,
    next_refusals: Timestamp,
    clock_fault: Option<ClockFault>,
    /// Commits and orders that have no report yet.
    pub(super) ordered: HashMap<u64, Waiting>,
    pub(super) health: Health,
    pub(super) attempts: AttemptLog,
    dropped_lines: Sampler,
    pub(super) refused_lines: Sampler,
    pub(super) publication_lines: PublicationLines,
}

#[derive(Debug)]
pub(super) enum Waiting {
    Knock {
        user: UserName,
        /// What it opens at the other gates of this name.
        shared: Option<SharedId>,
    },
    /// A grant of another gate.
    Shared {
        id: SharedId,
    },
    /// Grants that another gate has closed.
    Ending,
    /// The same, if they are still open.
    Leftover,
    Client {
        client: Client,
        grants: Vec<ListedGrant>,
    },
    Reader {
        reply: SyncSender<String>,
    },
}

impl Core {
    pub fn new(gate: Gate, gate_name: &str, now: Timestamp) -> Self {
        Self {
            gate,
            gate_name: gate_name.to_owned(),
            claiming: None,
            fleet: None,
            remembering: Remembering::default(),
            started: now,
            last_ticket: 0,
            shares: Shares::new(PENDING_MAX),
            ready: VecDeque::new(),
            refusals: None,
            next_refusals: Timestamp::default(),
            clock_fault: None,
            ordered: HashMap::new(),
            health: Health::default(),
            attempts: AttemptLog::default(),
            dropped_lines: Sampler::new(8),
            refused_lines: Sampler::new(20),
            publication_lines: PublicationLines::default(),
        }
    }

    /// The gate, for hint tables and lookahead.
    pub fn gate(&mut self) -> &mut Gate {
        &mut self.gate
    }

    pub(crate) fn health(&mut self) -> &mut Health {
        &mut self.health
    }

    /// Steps 1 to 10. If the knock is admitted, its mark must be durable before anything else happens.
    pub fn datagram(&mut self, now: Timestamp, datagram: &Datagram) -> Option<Commit> {
        let decision = self.gate.handle(now, datagram);
        self.judged(now, datagram, decision)
    }

    /// The same for a packet of fwknop and its user.
    pub(crate) fn fwknop(
        &mut self,
        now: Timestamp,
        datagram: &Datagram,
        row: FwknopRow,
    ) -> Option<Commit> {
        let decision = self.gate.handle_fwknop(now, datagram, Ok(row));
        self.judged(now, datagram, decision)
    }

    /// A packet that looks like fwknop's comes again. False if it is new.
    pub(crate) fn fwknop_copy(&mut self, now: Timestamp, datagram: &Datagram) -> bool {
        let decision = self.gate.handle_fwknop_copy(now, datagram);
        let judged = decision.map(|decision| self.judged(now, datagram, decision));
        judged.is_some()
    }

    /// No user's key opens a packet that looks like fwknop's, or there was no room to let it wait.
    pub(crate) fn drop_fwknop(&mut self, now: Timestamp, source: IpAddr, reason: Drop) {
        self.gate.count_drop(reason);
        self.log_dropped(now, source, reason);
    }

    /// A packet to a port of a sequence, which decides nothing before the last one.
    pub fn hit(&mut self, now: Timestamp, hit: &Hit) -> Option<Commit> {
        let decision = self.gate.handle_hit(now, hit)?;
        self.decided(now, hit.source, decision)
    }

    fn judged(&mut self, now: Timestamp, packet: &Datagram, judged: Decision) -> Option<Commit> {
        self.health.follow(packet, &judged);
        self.decided(now, packet.source(), judged)
    }

    fn decided(&mut self, now: Timestamp, source: IpAddr, decision: Decision) -> Option<Commit> {
        match decision {
            Decision::Drop(reason) => {
                self.log_dropped(now, source, reason);
                if let Some(warning) = self.gate.take_clock_warning() {
                    warn_of_clock(&warning);
                }
            }
            Decision::Refuse(refusal) => self.log_refused(now, source, &refusal),
            Decision::Admit(admission) => {
                let user = UserName::from(user_of(&admission.request));
                let admitted = Admitted {
                    admission,
                    arrived: now,
                    source,
                    announced: None,
                };
                match self.shares.enter(&user, admitted) {
                    Entry::Goes(admitted) => return Some(self.commit(admitted)),
                    Entry::Waits => {}
                    Entry::Full => {
                        let why = "too many knocks of this user are pending";
                        self.refuse(now, &user, Rule::Store, why);
                    }
                }
            }
        }
        None
    }

    /// Says once that the system's clock keeps everybody out, and when that is over.
    pub(crate) fn watch_clock(&mut self, now: Timestamp) {
        let fault = if now < Timestamp::OLDEST {
            Some(ClockFault::Unset)
        } else {
            self.gate.clock_ahead(now).map(|_| ClockFault::Behind)
        };
        // Without hints for the new time no knock is admitted yet.
        let is_too_early = fault.is_none() && self.gate.table_wanted(now).is_some();
        if fault == self.clock_fault || is_too_early {
            return;
        }
        let over = "then no restart is needed";
        match fault {
            Some(ClockFault::Unset) => warn!(
                "the system's clock says {now}, so it is not set yet; knocks are dropped until it is, and {over}"
            ),
            Some(ClockFault::Behind) => error!(
                "the gate's clock is {} ahead of the system's, so no knock is admitted until the system's clock is set, and {over}; \
                 if it is right now, stop posternd and run: posternd reset-clock",
                human(self.gate.clock_ahead(now).unwrap_or_default())
            ),
            None => info!("the system's clock says {now}; knocks are admitted again"),
        }
        self.clock_fault = fault;
    }

    /// The system's clock was set.
    pub(crate) fn clock_was_set(&mut self, step: ClockStep) {
        self.started = self.started.stepped(step);
        if let Some(claiming) = self.claiming.as_mut() {
            claiming.clock_was_set(step);
        }
    }

    /// The marks of refused knocks, so that none opens after a restart. A flood of them costs few commits: admitted knocks wait for
    /// the same disk.
    pub fn commit_refused(&mut self, now: Timestamp) -> Option<Commit> {
        let is_early = now < self.next_refusals && self.next_refusals.since(now) <= REFUSALS_EVERY;
        if is_early || self.refusals.is_some() || !self.gate.has_unsaved() {
            return None;
        }
        self.next_refusals = now.plus(REFUSALS_EVERY);
        let ticket = self.ticket();
        self.refusals = Some(ticket);
        let change = self.gate.take_unsaved();
        Some(Commit::new(ticket, change, None))
    }

    /// How long until the marks of refused knocks must be stored.
    pub(super) fn refusals_due(&self, now: Timestamp) -> Option<Duration> {
        let waits = self.refusals.is_none() && self.gate.has_unsaved();
        let left = || self.next_refusals.since(now).min(REFUSALS_EVERY);
        waits.then(left)
    }

    /// The next knock that waited for its turn, after others have been stored or opened.
    pub fn next_commit(&mut self) -> Option<Commit> {
        let admitted = self.ready.pop_front()?;
        Some(self.commit(admitted))
    }

    fn commit(&mut self, admitted: Admitted) -> Commit {
        let ticket = self.ticket();
        let mut change = self.gate.take_unsaved();
        // The times stay the present ones, because the knock may have waited.
        change.marks = vec![admitted.admission.record];
        let admitted = match self.claiming.as_mut() {
            Some(claiming) => claiming.take(ticket, admitted),
            None => Some(admitted),
        };
        let order = admitted.map(|admitted| self.order(ticket, admitted.admission.request, None));
        Commit::new(ticket, change, order)
    }

    pub(super) fn order(
        &mut self,
        ticket: u64,
        request: ApprovedRequest,
        shared: Option<SharedId>,
    ) -> Order {
        let user = UserName::from(user_of(&request));
        self.ordered.insert(ticket, Waiting::Knock { user, shared });
        match request {
            ApprovedRequest::Open(request) => Order::Open { ticket, request },
            ApprovedRequest::Close(request) => Order::Close { ticket, request },
        }
    }

    /// A knock on its way is done or refused. The user's next one may go.
    pub(super) fn knock_done(&mut self, user: &str) {
        let next = self.shares.leave(user);
        self.ready.extend(next);
    }

    /// Step 11 is over: the mark is durable and the order is sent, or nothing is granted.
    pub fn stored(&mut self, now: Timestamp, ticket: u64, result: Result<(), &str>) {
        if self.refusals == Some(ticket) {
            self.refusals = None;
        }
        let claiming = self.claiming.as_mut();
        let unclaimed = claiming.and_then(|claiming| claiming.stored(ticket, result.is_ok()));
        let Err(why) = result else {
            self.remembering.stored(ticket);
            return;
        };
        if let Some(admitted) = unclaimed {
            let user = user_of(&admitted.admission.request);
            self.refuse(now, user, Rule::Store, why);
            self.knock_done(user);
        }
        if let Some(Waiting::Knock { user, .. }) = self.ordered.remove(&ticket) {
            self.refuse(now, &user, Rule::Store, why);
            self.knock_done(&user);
        }
    }

    pub fn order_failed(&mut self, order: &Order, why: &str) {
        let Some(ticket) = order.ticket() else { return };
        let (rule, why) = (Rule::Firewall, why.to_owned());
        warn!(
            ticket,
            rule = rule.name(),
            "an order could not be sent: {why}"
        );
        self.reported(Report::Refused { ticket, rule, why });
    }

    pub fn reported(&mut self, report: Report) {
        let Some(ticket) = report.ticket() else {
            return;
        };
        match (self.ordered.remove(&ticket), report) {
            (None, _) => warn!(ticket, "the monitor reported on an unknown order"),
            (Some(Waiting::Shared { id }), report) => self.shared(id, report),
            (Some(Waiting::Ending), report) => debug!(?report, "ended"),
            (Some(Waiting::Leftover), report) => {
                self.fleet.iter_mut().for_each(Fleet::arrived);
                debug!(?report, "ended");
            }
            (Some(Waiting::Knock { user, shared }), Report::Refused { rule, why, .. }) => {
                // The monitor has logged it.
                self.gate.count(rule);
                self.shared_is_refused(shared, rule);
                self.knock_done(&user);
                debug!(user = &*user, rule = rule.name(), why, "not done");
            }
            (Some(Waiting::Knock { user, shared }), report) => {
                self.shared_is_open(shared, &report);
                debug!(user = &*user, ?report, "done");
                self.knock_done(&user);
            }
            (Some(Waiting::Reader { reply }), Report::Measured { tally, .. }) => {
                drop(reply.try_send(self.metrics(tally)))
            }
            (Some(Waiting::Reader { .. }), report) => {
                debug!(?report, "the metrics could not be read")
            }
            (Some(Waiting::Client { client, grants }), report) => {
                self.answer(ticket, client, grants, report);
            }
        }
    }

    fn answer(
        &mut self,
        ticket: u64,
        client: Client,
        mut grants: Vec<ListedGrant>,
        report: Report,
    ) {
        let answer = match report {
            Report::Grants {
                grants: part, more, ..
            } => {
                grants.extend(part);
                if more {
                    let waiting = Waiting::Client { client, grants };
                    self.ordered.insert(ticket, waiting);
                    return;
                }
                Answer::Grants(grants)
            }
            Report::Closed { count, .. } => {
                let last = self.fleet.as_ref().map_or(0, Fleet::remembered);
                self.remembering.answer(last, client, count);
                return;
            }
            Report::Confirmed { trial, .. } => Answer::Confirmed(trial),
            Report::Reloaded { outcome, .. } => Answer::Reloaded(outcome),
            Report::Measured { tally, .. } => Answer::Metrics(self.metrics(tally)),
            Report::Firewall { state, .. } => Answer::Firewall(state),
            Report::Refused { why, .. } => Answer::Failed(why),
            Report::Opened { .. }
            | Report::Go
            | Report::Finish
            | Report::Measure
            | Report::Interface { .. }
            | Report::Cluster { .. }
            | Report::Ended { .. }
            | Report::LogSensor { .. } => {
                Answer::Failed("the monitor answered something else".to_owned())
            }
        };
        control::answer(client, &answer);
    }

    pub fn is_idle(&self) -> bool {
        let is_stored = self.refusals.is_none() && !self.gate.has_unsaved();
        let is_claimed = self.claiming.as_ref().is_none_or(Claiming::is_idle);
        is_claimed
            && self.is_fleet_idle()
            && self.remembering.is_idle()
            && self.ordered.is_empty()
            && self.shares.is_empty()
            && is_stored
    }

    /// A question of the administrator is answered at once, or after the returned order.
    pub fn question(&mut self, now: Timestamp, asked: Question, client: Client) -> Option<Order> {
        let ticket = self.ticket();
        let order = match asked {
            Question::Status => {
                control::answer(client, &Answer::Status(Box::new(self.status(now))));
                return None;
            }
            Question::Seen(mark) => {
                control::answer(client, &Answer::Seen(self.gate.seen(&mark.0)));
                return None;
            }
            Question::Grants => Order::List { ticket },
            Question::ClusterGrants => {
                control::answer(client, &self.cluster_grants(now));
                return None;
            }
            Question::Close(which) => {
                self.close_shared(now, &which);
                Order::End { ticket, which }
            }
            Question::Confirm => Order::Confirm { ticket },
            Question::Reload => Order::Reload { ticket },
            Question::Metrics => Order::Measure { ticket },
            Question::Firewall => Order::Firewall { ticket },
        };
        let grants = Vec::new();
        self.ordered
            .insert(ticket, Waiting::Client { client, grants });
        Some(order)
    }

    pub(crate) fn metrics_requested(&mut self, reply: SyncSender<String>) -> Order {
        let ticket = self.ticket();
        self.ordered.insert(ticket, Waiting::Reader { reply });
        Order::Measure { ticket }
    }

    pub(super) fn ticket(&mut self) -> u64 {
        self.last_ticket = self.last_ticket.wrapping_add(1);
        self.last_ticket
    }

    fn log_dropped(&mut self, now: Timestamp, source: IpAddr, reason: Drop) {
        if tracing::enabled!(tracing::Level::DEBUG)
            && self.dropped_lines.may_log(now, Reason::Drop(reason))
        {
            debug!(%source, reason = reason.name(), rule = reason.rule(), "{}", Reason::Drop(reason));
        }
    }

    /// A refused knock is one line at info. A flood of them is only counted.
    fn log_refused(&mut self, now: Timestamp, source: IpAddr, refusal: &Refusal) {
        let reason = Reason::Refuse(refusal.rule);
        if self.refused_lines.may_log(now, reason) {
            info!(
                user = refusal.user, %source, rule = refusal.rule.name(),
                "refused: {} asked to {}: {}", refusal.user, refusal.asked, refusal.rule.sentence()
            );
        }
    }

    /// A knock is refused after its decision. A flood of them is only counted, unless the level is trace.
    pub(super) fn refuse(&mut self, now: Timestamp, user: &str, rule: Rule, why: &str) {
        self.gate.count(rule);
        let (name, sentence) = (rule.name(), rule.sentence());
        if self.refused_lines.may_log(now, Reason::Refuse(rule)) {
            warn!(user, rule = name, "refused: {user}: {sentence}: {why}");
        } else {
            trace!(target: FLOOD, user, rule = name, "refused: {user}: {sentence}: {why}");
        }
    }
}
