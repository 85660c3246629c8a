//! The gate: does this datagram admit someone?
//!
//! A plain struct: a datagram and the time go in, a decision comes out. No I/O, no clock, no thread (invariant 1).
//! `Gate::judge` carries out PROTOCOL section 6, steps 1 to 10, in that order; steps 11 and 12 are the engine's.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use postern_proto::{Action, CodeKey, KeyMaterial, OpenBuffer, Packet, Request, UserKeys};

use crate::model::catalog::{NamedServices, ServiceOptions};
use crate::model::counters::ReasonCounters;
use crate::model::datagram::Datagram;
use crate::model::mark::{Kept, MarkRecord, StoredTimes};
use crate::model::policy::Policy;
use crate::model::reason::{Drop, Reason, Rule};
use crate::model::request::{CloseRequest, OpenRequest};
use crate::model::settings::Settings;
use crate::model::time::Timestamp;

mod ahead;
mod code;
pub mod explain;
mod hints;
mod looks;
mod quota;
mod replay;
mod settle;
mod users;

pub use hints::{HintKeys, HintTable};
pub use looks::Seen;
use quota::GateClock;
pub use quota::Spent;
use replay::ReplayWindow;
use users::{Knocker, Users};

/// What the gate says of one datagram.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Authenticated, fresh and allowed: once its mark is durable, the wish may be carried out.
    Admit(Admission),
    /// Authenticated, but policy or quota says no.
    Refuse(Refusal),
    /// Not authenticated, or not fresh.
    Drop(Drop),
}

/// An admitted knock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// What must be durable before anything is opened (step 11).
    pub record: MarkRecord,
    /// The clock floor and horizon that must be durable with it.
    pub times: StoredTimes,
    /// What the user may have.
    pub request: ApprovedRequest,
}

/// What an admitted knock wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApprovedRequest {
    /// A door opened.
    Open(OpenRequest),
    /// The user's own doors closed.
    Close(CloseRequest),
}

/// A refused knock: who, which rule, and what was asked where that could be settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The user's name.
    pub user: String,
    /// The rule that said no.
    pub rule: Rule,
    /// What was asked, as the log says it.
    pub asked: String,
}

/// A user as the gate knows one.
#[derive(Debug)]
pub struct User {
    /// The keys, derived at load time.
    pub keys: UserKeys,
    /// What this user may open.
    pub policy: Policy,
}

/// Keys that a user had before: they count like the present ones, until a time.
#[derive(Debug)]
pub struct OldKeys {
    /// The user's place among those that the gate was made with.
    pub user: usize,
    /// The keys, derived at load time.
    pub keys: UserKeys,
    /// From this moment of the gate's clock on they are nobody's.
    pub until: Timestamp,
}

/// The decision core.
#[derive(Debug)]
pub struct Gate {
    users: Users,
    named: NamedServices,
    options: BTreeMap<String, ServiceOptions>,
    window: Duration,
    hints: HintTable,
    replay: ReplayWindow,
    /// The time that quotas are counted by.
    quota_clock: GateClock,
    counters: ReasonCounters,
}

/// Why a datagram does not admit anyone.
enum No {
    Drop(Drop),
    Refuse(Refusal),
}

impl Gate {
    /// The gate of this config; `keys` are in the order of its policies, and old ones name their user's place among them and
    /// until when they count. It remembers nothing yet.
    pub fn of<'a>(
        settings: Settings,
        keys: &[KeyMaterial],
        old: impl IntoIterator<Item = (usize, Timestamp, &'a KeyMaterial)>,
    ) -> Self {
        let derived = |material| UserKeys::derive(&settings.gate.name, material);
        let old: Vec<OldKeys> = old
            .into_iter()
            .map(|(user, until, material)| OldKeys {
                user,
                keys: derived(material),
                until,
            })
            .collect();
        let users = settings
            .policies
            .into_iter()
            .zip(keys)
            .map(|(policy, material)| User {
                keys: derived(material),
                policy,
            });
        Self::new(
            users.collect(),
            settings.named,
            settings.gate.window,
            Kept::default(),
        )
        .with_options(settings.options)
        .with_old_keys(old)
    }

    /// A gate that knows these users and remembers what the store kept. It admits nobody before the first
    /// [`Gate::install`] of the table that [`Gate::table_wanted`] asks for.
    pub fn new(users: Vec<User>, named: NamedServices, window: Duration, kept: Kept) -> Self {
        let quota_clock = GateClock::default();
        Self {
            users: Users::new(users, &quota_clock),
            named,
            options: BTreeMap::new(),
            window,
            hints: HintTable::empty(),
            replay: ReplayWindow::new(window, kept),
            quota_clock,
            counters: ReasonCounters::default(),
        }
    }

    /// What the config says of named services besides ports.
    #[must_use]
    pub fn with_options(mut self, options: BTreeMap<String, ServiceOptions>) -> Self {
        self.options = options;
        self
    }

    /// Users' keys of before. Comes before the first table.
    #[must_use]
    pub fn with_old_keys(mut self, old: impl IntoIterator<Item = OldKeys>) -> Self {
        old.into_iter()
            .for_each(|keys| self.users.add_old(keys, self.window));
        self
    }

    /// The secrets of the one-time codes that each `open` of a user must carry, in the order of the users; none where it need not.
    /// They are no part of the policies, for the monitor has those, too.
    #[must_use]
    pub fn with_codes(mut self, codes: impl IntoIterator<Item = Option<CodeKey>>) -> Self {
        self.users.add_codes(codes);
        self
    }

    /// Remembers what the store kept, for a gate that was made before its store could be opened. Comes before the first datagram.
    pub fn recall(&mut self, kept: Kept) {
        self.replay = ReplayWindow::new(self.window, kept);
    }

    /// Decides on one datagram and counts the reason. `now` is the system's clock.
    pub fn handle(&mut self, now: Timestamp, datagram: &Datagram) -> Decision {
        let now = self.replay.clock(now);
        match self.judge(now, datagram) {
            Ok(admission) => {
                self.counters.admitted = self.counters.admitted.saturating_add(1);
                Decision::Admit(admission)
            }
            Err(No::Drop(reason)) => {
                self.counters.count(Reason::Drop(reason));
                Decision::Drop(reason)
            }
            Err(No::Refuse(refusal)) => {
                self.counters.count(Reason::Refuse(refusal.rule));
                Decision::Refuse(refusal)
            }
        }
    }

    fn judge(&mut self, now: Timestamp, datagram: &Datagram) -> Result<Admission, No> {
        // 1. Length.
        let packet = Packet::parse(datagram.payload()).map_err(|_| Drop::Length)?;
        // 2. Hint. Up to here no cryptography has run.
        let rows = self.hints.find(packet.hint()).ok_or(Drop::UnknownHint)?;
        // An old key whose time is up is nobody's.
        let mut rows = rows
            .filter(|(row, _)| self.users.counts(*row, now))
            .peekable();
        rows.peek().ok_or(Drop::UnknownHint)?;
        // 3. Mac, for each user under that hint.
        let (step, knocker) = rows
            .find_map(|(row, step)| {
                self.users
                    .mac_key(row)?
                    .verify(&packet)
                    .then_some((row, step))
            })
            .and_then(|(row, step)| Some((step, self.users.knocker(row)?)))
            .ok_or(Drop::BadMac)?;
        // 7 and 8 early, for a copy of what came before: the same bytes pass 4 to 6 as they did then, and a flood of replays is cheap.
        if let Some(known) = self.replay.known(&packet.mark()) {
            self.replay.fresh(now, known.timestamp)?;
            self.replay.unseen(&MarkRecord {
                admitted: now,
                ..known
            })?;
        }
        // 4. Seal.
        let mut buffer = OpenBuffer::new();
        let body = knocker
            .seal_key
            .open(&packet, &mut buffer)
            .map_err(|_| Drop::BadSeal)?;
        // 5. Body, to the last byte.
        let request = Request::decode(body).map_err(Drop::Malformed)?;
        // 6. The timestamp's step is the hint's.
        if request.step() != step {
            return Err(Drop::StepMismatch.into());
        }
        // 7. Window.
        let timestamp = Timestamp::from_millis(request.timestamp_ms);
        self.replay.fresh(now, timestamp)?;
        // 8. Mark.
        let record = MarkRecord {
            mark: packet.mark(),
            timestamp,
            admitted: now,
        };
        self.replay.unseen(&record)?;
        // 9. Policy, then 10. quota. A refused mark is remembered too, so that a stranger who re-sends it is not logged.
        let wish = self
            .wish(&request, datagram, &knocker)
            .and_then(|wish| code::check(knocker.codes, now, &request, wish))
            .and_then(|wish| {
                self.quota_clock.set(now);
                if knocker.limiter.admit() {
                    Ok(wish)
                } else {
                    Err(Rule::Quota)
                }
            })
            .map_err(|rule| {
                self.replay.remember_refused(&record);
                No::Refuse(Refusal {
                    user: knocker.name.to_owned(),
                    rule,
                    asked: settle::asked(&request, datagram.source()),
                })
            })?;
        knocker.meter.count(knocker.policy.quota, now);
        Ok(Admission {
            record,
            times: self.replay.remember(record),
            request: wish,
        })
    }

    /// Step 9: what the knock wants, once the user's policy has allowed it, all but the code.
    fn wish(
        &self,
        request: &Request,
        datagram: &Datagram,
        knocker: &Knocker<'_>,
    ) -> Result<ApprovedRequest, Rule> {
        match request.action {
            Action::Open => {
                let terms =
                    settle::terms(request, datagram.source(), knocker.name, knocker.policy)?;
                knocker.policy.check(&terms, &self.named, &self.options)?;
                Ok(ApprovedRequest::Open(terms))
            }
            Action::Close => settle::closing(request, datagram.source(), knocker.name)
                .map(ApprovedRequest::Close),
        }
    }

    /// The steps that the hint table must cover from now on, if the present one does not, the next step included.
    pub fn table_wanted(&self, now: Timestamp) -> Option<RangeInclusive<u64>> {
        let wanted = hints::steps_touched(self.replay.clock(now), self.window);
        if self.hints.covers(&wanted) {
            None
        } else {
            Some(wanted)
        }
    }

    /// What a table is built from, on any thread.
    pub fn hint_keys(&self) -> HintKeys {
        self.users.hint_keys()
    }

    /// Replaces the hint table.
    pub fn install(&mut self, table: HintTable) {
        self.hints = table;
    }

    /// How often each reason was given so far.
    pub fn counters(&self) -> &ReasonCounters {
        &self.counters
    }

    /// Counts a reason that was found after the gate: steps 11 and 12.
    pub fn count(&mut self, rule: Rule) {
        self.counters.count(Reason::Refuse(rule));
    }

    /// How many marks are remembered.
    pub fn marks(&self) -> usize {
        self.replay.len()
    }

    /// How many rows the hint table has.
    pub fn hint_rows(&self) -> usize {
        self.hints.rows()
    }

    /// How many users there are.
    pub fn users(&self) -> usize {
        self.users.len()
    }
}

impl From<Drop> for No {
    fn from(reason: Drop) -> Self {
        Self::Drop(reason)
    }
}
