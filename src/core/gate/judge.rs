//! The decision on one datagram: proto/README.md section 6, steps 1 to 10, in that order.

use std::ops::RangeInclusive;
use std::time::Duration;

use postern_proto::{CodeKey, KeyMaterial, OpenBuffer, Packet, Request, RootKey};

use super::approve;
use super::clocks::{ClockWarning, Clocks};
use super::code;
use super::decision::{Admission, ApprovedRequest, Decision, Refusal, Rejection};
use super::fwknop_keys::{FWKNOP_WINDOW, FwknopUser, FwknopUsers};
use super::hints::{self, HintKeys, HintTable};
use super::quota::GateClock;
use super::replay::ReplayWindow;
use super::sequences::Sequences;
use super::unsaved::Unsaved;
use super::users::{KeyRows, OldKeys, User, Users};
use crate::model::catalog::Catalog;
use crate::model::counters::ReasonCounters;
use crate::model::datagram::Datagram;
use crate::model::mark::{MarkRecord, RefusedRecord, StoredMarks, StoredTimes};
use crate::model::reason::{Drop, Reason, Rule};
use crate::model::settings::Settings;
use crate::model::time::Timestamp;

#[derive(Debug)]
pub struct Gate {
    pub(super) users: Users,
    pub(super) catalog: Catalog,
    window: Duration,
    pub(super) hints: HintTable,
    pub(super) replay: ReplayWindow,
    pub(super) quota_clock: GateClock,
    pub(super) unsaved: Unsaved,
    pub(super) clocks: Clocks,
    pub(super) fwknop: FwknopUsers,
    pub(super) sequences: Sequences,
    pub(super) counters: ReasonCounters,
}

impl Gate {
    /// The gate of this config. `rows` have the keys of its first policies, in their order; users of other kinds follow. An
    /// old key names its user's index and its expiry. The gate remembers no marks yet.
    pub fn of<'a>(
        settings: Settings,
        rows: Vec<KeyRows>,
        old: impl IntoIterator<Item = (usize, Timestamp, &'a KeyMaterial)>,
    ) -> Self {
        let gate_names = settings.gate_names();
        let policies = &settings.policies;
        let old = old.into_iter().filter_map(|(user, until, material)| {
            let gate_name = gate_names.of(policies.get(user)?);
            let keys = RootKey::extract(gate_name, material);
            Some(OldKeys { user, keys, until })
        });
        let old = old.collect();
        let users = Users::new(settings.policies, rows, old);
        Self::with_users(users, settings.catalog, settings.gate.window)
    }

    /// A gate with these users and with the marks that the store kept. It admits nobody before the first
    /// [`Gate::install`].
    pub fn new(
        users: Vec<User>,
        old: Vec<OldKeys>,
        catalog: Catalog,
        window: Duration,
        kept: StoredMarks,
    ) -> Self {
        let (keys, policies): (Vec<_>, Vec<_>) = users
            .into_iter()
            .map(|user| (user.keys, user.policy))
            .unzip();
        let rows = KeyRows::from_iter(keys);
        let users = Users::new(policies.into(), vec![rows], old);
        let mut gate = Self::with_users(users, catalog, window);
        gate.recall(kept);
        gate
    }

    fn with_users(users: Users, catalog: Catalog, window: Duration) -> Self {
        Self {
            users,
            catalog,
            window,
            hints: HintTable::empty(),
            replay: ReplayWindow::new(window, StoredTimes::default(), Vec::new()),
            quota_clock: GateClock::default(),
            unsaved: Unsaved::default(),
            clocks: Clocks::default(),
            fwknop: FwknopUsers::default(),
            sequences: Sequences::default(),
            counters: ReasonCounters::default(),
        }
    }

    /// Adds the secrets of one-time codes, each with its user's place among the policies. Policies do not hold them: the monitor reads
    /// policies, too.
    #[must_use]
    pub fn with_codes(mut self, codes: impl IntoIterator<Item = (usize, CodeKey)>) -> Self {
        self.users.add_codes(codes);
        self
    }

    /// Adds the keys of users who knock with fwknop's clients. Call it before [`Self::recall`].
    #[must_use]
    pub fn with_fwknop(mut self, users: Vec<FwknopUser>) -> Self {
        self.fwknop = FwknopUsers::new(users);
        let (window, none) = (self.longest_window(), StoredTimes::default());
        self.replay = ReplayWindow::new(window, none, Vec::new());
        self
    }

    /// Loads what the store kept. Call it before the first datagram, and after [`Self::with_codes`].
    pub fn recall(&mut self, kept: StoredMarks) {
        self.replay = ReplayWindow::new(self.longest_window(), kept.times, kept.marks);
        self.clocks = Clocks::after(kept.times.floor);
        let numbers = self.users.numbers();
        for kept in kept.users {
            let Some(user) = numbers(&kept.user) else {
                continue;
            };
            self.replay.recall_horizon(user, kept.horizon);
            let member = self.users.member(user);
            if let Some(codes) = member.and_then(|member| member.codes) {
                codes.recall(kept.codes);
            }
        }
        self.sequences.recall(&numbers, kept.runs);
        for RefusedRecord { user, record } in kept.refused {
            // A user who is gone knocks no more.
            if let Some(user) = numbers(&user)
                && record.timestamp >= self.replay.horizon_of(user)
            {
                self.replay.remember_refused(user, &record);
            }
        }
    }

    /// Marks are remembered as long as any user's knock may count as fresh.
    pub(crate) fn longest_window(&self) -> Duration {
        if self.fwknop.is_empty() {
            self.window
        } else {
            self.window.max(FWKNOP_WINDOW)
        }
    }

    /// Decides on one datagram and counts the reason. `now` is the system's clock.
    pub fn handle(&mut self, now: Timestamp, datagram: &Datagram) -> Decision {
        let payload = datagram.payload();
        if self.fwknop.may_be(payload) {
            return self.handle_fwknop(now, datagram, self.fwknop.find(payload));
        }
        let now = self.replay.clock(now);
        let judged = self.judge(now, datagram);
        self.decide(judged)
    }

    pub(super) fn decide(&mut self, judged: Result<Admission, Rejection>) -> Decision {
        match judged {
            Ok(admission) => {
                self.counters.admitted = self.counters.admitted.saturating_add(1);
                Decision::Admit(admission)
            }
            Err(Rejection::Refuse(refusal)) => {
                self.tidy_if_long();
                self.counters.count(Reason::Refuse(refusal.rule));
                Decision::Refuse(refusal)
            }
            Err(Rejection::Drop(reason)) => {
                self.counters.count(Reason::Drop(reason));
                Decision::Drop(reason)
            }
        }
    }

    fn judge(&mut self, now: Timestamp, datagram: &Datagram) -> Result<Admission, Rejection> {
        // Section 6, step 1: length.
        let packet = Packet::parse(datagram.payload()).map_err(|_| Drop::Length)?;

        // Section 6, step 2: hint. No cryptography has run so far.
        let mut reason = Drop::UnknownHint;
        let mut verified = None;
        for (row, step) in self.hints.find(packet.hint()) {
            let Some(number) = self.users.valid_at(now, row) else {
                continue;
            };
            reason = Drop::BadMac;

            // Section 6, step 3: mac, for each user with this hint.
            let keys = self.users.keys(row).filter(|keys| keys.verify(&packet));
            if keys.is_some() {
                verified = Some((row, number, step));
                break;
            }
        }
        let (row, number, step) = verified.ok_or(reason)?;

        // Section 6, steps 7 and 8, early for a copy of an earlier packet: the same bytes pass steps 4 to 6 as before.
        // This keeps a flood of replays cheap.
        if let Some(known) = self.replay.known(&packet.mark()) {
            self.replay
                .fresh(number, now, known.timestamp, self.window)?;
            self.replay.unseen(&MarkRecord {
                admitted: now,
                ..known
            })?;
        }

        // Section 6, step 4: seal.
        let mut buffer = OpenBuffer::new();
        let keys = self.users.keys(row).ok_or(Drop::BadSeal)?;
        let body = keys.open(&packet, &mut buffer).map_err(|_| Drop::BadSeal)?;

        // Section 6, step 5: body.
        let request = Request::decode(body).map_err(Drop::Malformed)?;

        // Section 6, step 6: the hint's step is the timestamp's.
        if request.step() != step {
            return Err(Drop::StepMismatch.into());
        }

        // Section 6, step 7: window.
        let timestamp = Timestamp::from_millis(request.timestamp_ms);
        let user = self.users.member(number).ok_or(Drop::UnknownHint)?;
        let (name, window) = (&user.policy.user, self.window);
        self.clocks.note(number, name, now, timestamp, window);
        self.replay.fresh(number, now, timestamp, window)?;

        // Section 6, step 8: mark.
        let record = MarkRecord {
            mark: packet.mark(),
            timestamp,
            admitted: now,
        };
        self.replay.unseen(&record)?;

        // Section 6, step 9: policy, then code.
        let source = datagram.source();
        let approved = approve::approve(now, &request, source, user.policy, &self.catalog);
        let approved = approved.and_then(|approved| {
            code::check(user.codes, now, request.code(), &approved)?;
            Ok(approved)
        });
        let asked = || approve::asked(&request, source);
        self.settle(number, &record, approved, asked)
    }

    /// Section 6, step 10: quota. Then the mark is remembered, whether the knock is admitted or refused.
    pub(super) fn settle(
        &mut self,
        number: usize,
        record: &MarkRecord,
        approved: Result<ApprovedRequest, Rule>,
        asked: impl FnOnce() -> String,
    ) -> Result<Admission, Rejection> {
        let now = record.admitted;
        let approved = approved.and_then(|approved| {
            self.quota_clock.set(now);
            if self.users.admit(number, now, &self.quota_clock) {
                Ok(approved)
            } else {
                Err(Rule::Quota)
            }
        });
        let user = self.users.member(number).ok_or(Drop::UnknownHint)?;
        let approved = approved.map_err(|rule| {
            // A refused packet that is sent again must not fill the log, nor open anything after a reload.
            self.replay.forget_refused(user.number);
            let moved = self.replay.remember_refused(user.number, record);
            self.unsaved
                .refused(user.number, *record, moved || user.codes.is_some());
            Rejection::Refuse(Refusal {
                user: user.policy.user.to_string(),
                rule,
                asked: asked(),
            })
        })?;
        if user.codes.is_some() {
            self.unsaved.user(user.number);
        }
        Ok(Admission {
            record: *record,
            times: self.replay.remember(*record),
            code: code::used_up(user.codes, &user.policy.user, &approved),
            for_good: false,
            break_glass: user.policy.break_glass,
            request: approved,
        })
    }

    /// A user's clock that the last datagram showed to be wrong, unless that was told within the hour.
    pub(crate) fn take_clock_warning(&mut self) -> Option<ClockWarning> {
        self.clocks.take()
    }

    /// How far the clock floor is ahead of the system's clock, if so far that no knock of now is admitted.
    pub(crate) fn clock_ahead(&self, system: Timestamp) -> Option<Duration> {
        let ahead = self.replay.clock(system).since(system);
        (ahead > self.window).then_some(ahead)
    }

    /// The steps that the hint table must cover, the next one included; `None` if it covers them.
    pub fn table_wanted(&self, now: Timestamp) -> Option<RangeInclusive<u64>> {
        let wanted = hints::steps_touched(self.replay.clock(now), self.window);
        (!self.hints.covers(&wanted)).then_some(wanted)
    }

    /// The keys that a table is built from, on any thread.
    pub fn hint_keys(&self) -> HintKeys {
        self.users.hint_keys(self.window)
    }

    /// The present table, for the next one.
    pub fn table(&self) -> HintTable {
        self.hints.clone()
    }

    pub fn install(&mut self, table: HintTable) {
        self.hints = table;
    }

    /// Counts a packet that something else dropped: another gate was first to admit it, no key opens it, or it found no room.
    pub(crate) fn count_drop(&mut self, reason: Drop) {
        self.counters.count(Reason::Drop(reason));
    }

    /// Counts a refusal after the gate, in steps 11 and 12.
    pub fn count(&mut self, rule: Rule) {
        self.counters.count(Reason::Refuse(rule));
    }
}
