//! The knocks of one wait. A round goes to all addresses of the gate that are known; one that becomes known later gets its
//! knock at once. Every knock is a new packet.

use std::net::SocketAddr;
use std::time::Duration;

use postern_proto::Item;

use super::codes::{CodeUse, Codes};
use super::knock::{SentKnock, make, send, unsent};
use super::names::Names;
use super::open_grant::OpenGrant;
use super::own_address::OwnAddresses;
use super::resolve::Families;
use super::schedule::{KNOCKS_MAX, Schedule};
use super::wake::Alarm;
use crate::adapters::clock;
use crate::client::profile::Host;
use crate::model::exit::{ExitError, PERMISSION};

/// New codes are looked for this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// Times count from the start of the wait.
pub(super) struct Rounds<'a> {
    grant: &'a OpenGrant,
    schedule: Schedule,
    pub(super) names: Names,
    pub(super) families: Families,
    codes: CodeUse,
    own: OwnAddresses,
    /// When the first round was: as soon as an address was known.
    begun: Option<Duration>,
    round: usize,
    look_ups: usize,
    /// Every address that was tried, once for each time.
    tries: Vec<SocketAddr>,
    /// When knocks were sent.
    times: Vec<Duration>,
    /// How many knocks of earlier waits the quota still counts.
    earlier: usize,
    sent: Vec<SentKnock>,
    unsent: Vec<SentKnock>,
    failure: Option<ExitError>,
}

impl<'a> Rounds<'a> {
    /// Looks up the hosts of the gate, its target and `more`.
    pub(super) fn new(
        grant: &'a OpenGrant,
        schedule: Schedule,
        codes: Codes,
        more: Option<Host>,
        alarm: &Alarm,
    ) -> Result<Self, ExitError> {
        let hosts = grant.destination.hosts();
        let hosts = hosts.chain(grant.wanted.target.clone()).chain(more);
        Ok(Self {
            grant,
            schedule,
            names: Names::new(hosts, alarm.waker()),
            families: grant.destination.families()?,
            codes: CodeUse::new(codes, clock::wall(), alarm.waker()),
            own: OwnAddresses::new(&grant.destination.addresses),
            begun: None,
            round: 0,
            look_ups: 0,
            tries: Vec::new(),
            times: Vec::new(),
            earlier: grant.recent().count(),
            sent: Vec::new(),
            unsent: Vec::new(),
            failure: None,
        })
    }

    /// Sends the knocks that are due now, and tells of the first to each address. Fails if none was sent and none can be.
    pub(super) fn knock(
        &mut self,
        now: Duration,
        tell: &mut dyn FnMut(&SentKnock),
    ) -> Result<(), ExitError> {
        self.look_up(now);
        let gates = self.gates();
        let result = if !gates.is_empty() {
            let chosen = self.choose(gates, now);
            self.send(&chosen)
        } else if self.names.is_pending() || self.has_sent() {
            Ok(Vec::new())
        } else {
            Err(self.unresolved())
        };
        match result {
            Ok(sent) => sent
                .into_iter()
                .for_each(|knock| self.record(knock, now, tell)),
            Err(error) if self.is_final(&error) => return Err(error),
            Err(error) => self.failure = Some(error),
        }
        Ok(())
    }

    /// Looks the names up again as often as it knocks.
    fn look_up(&mut self, now: Duration) {
        if self.times.len() < KNOCKS_MAX && advance(self.schedule, &mut self.look_ups, now) {
            self.names.ask();
        }
        self.names.update();
    }

    /// The known addresses of the gate; none if the target is not known.
    fn gates(&self) -> Vec<SocketAddr> {
        let target = self.grant.wanted.target.as_ref();
        if target.is_some_and(|target| self.names.addresses(target, 0).is_empty()) {
            return Vec::new();
        }
        self.grant.destination.known(&self.names, self.families)
    }

    /// The addresses to knock at now.
    fn choose(&mut self, mut gates: Vec<SocketAddr>, now: Duration) -> Vec<SocketAddr> {
        let begun = *self.begun.get_or_insert(now);
        let has_new_code = self.codes.update(clock::wall());
        if advance(self.schedule, &mut self.round, now.saturating_sub(begun)) {
            gates.sort_by_key(|gate| self.tries.iter().filter(|tried| *tried == gate).count());
        } else if !has_new_code {
            // A code waits for the next round: the gate may have admitted it already.
            gates.retain(|gate| !self.codes.is_needed() && !self.tries.contains(gate));
        }
        let mut gates = self.codes.allowed(gates);
        let each = self.grant.wanted.claims_at_most();
        let mut room = self.schedule.room(now, &self.times, self.earlier) / each;
        if self.times.is_empty() {
            // Only one of the families may work.
            let families = [true, false].map(|v4| gates.iter().any(|gate| gate.is_ipv4() == v4));
            room = room.max(families.into_iter().filter(|has| *has).count());
        }
        gates.truncate(room);
        gates
    }

    fn send(&mut self, gates: &[SocketAddr]) -> Result<Vec<SentKnock>, ExitError> {
        if gates.is_empty() {
            return Ok(Vec::new());
        }
        self.tries.extend(gates);
        let (wanted, destination) = (&self.grant.wanted, &self.grant.destination);
        let mut items = wanted.items()?;
        items.extend(self.codes.current().map(Item::Code));
        let targets = wanted.targets(&self.names)?;
        let secrets = &self.grant.secrets;
        let made = make(
            wanted,
            items,
            destination,
            secrets,
            gates,
            &targets,
            &mut self.own,
        )?;
        let sent = send(made);
        match unsent(&sent) {
            Some(error) => {
                self.unsent.extend(sent);
                Err(error)
            }
            None => Ok(sent),
        }
    }

    fn record(&mut self, knock: SentKnock, now: Duration, tell: &mut dyn FnMut(&SentKnock)) {
        if knock.outcome.is_err() {
            self.unsent.push(knock);
            return;
        }
        self.times.push(now);
        self.codes.went_to(knock.to);
        let mut earlier = self.sent.iter_mut();
        match earlier.find(|earlier| earlier.is_like(&knock)) {
            Some(earlier) => {
                earlier.count = earlier.count.saturating_add(1);
                // Its time tells which of several requests was the last.
                earlier.request = knock.request;
            }
            None => {
                tell(&knock);
                self.sent.push(knock);
            }
        }
    }

    /// Whether to give up at once. A firewall of this machine that drops packets at random refuses permission, too, and
    /// a resolver may answer later.
    fn is_final(&self, error: &ExitError) -> bool {
        let may_pass = error.code == PERMISSION || self.names.may_pass();
        let repeats = may_pass && !self.schedule.once;
        !(self.has_sent() || self.names.is_pending() || repeats)
    }

    /// When to call [`Self::knock`] again.
    pub(super) fn next(&self, now: Duration) -> Duration {
        let mut next = now.saturating_add(LONGEST_SLEEP);
        if self.times.len() < KNOCKS_MAX {
            let round = self.schedule.due(self.round).zip(self.begun);
            let round = round.map(|(due, begun)| begun.saturating_add(due));
            let dues = [round, self.schedule.due(self.look_ups)];
            next = dues.into_iter().flatten().fold(next, Duration::min);
        }
        next
    }

    pub(super) fn has_sent(&self) -> bool {
        !self.sent.is_empty()
    }

    /// One for each address.
    pub(super) fn sent(&self) -> &[SentKnock] {
        &self.sent
    }

    /// All that was sent, and what could not be sent to any of the other addresses; an error if nothing was sent.
    pub(super) fn end(mut self) -> Result<Vec<SentKnock>, ExitError> {
        if !self.has_sent() {
            return Err(self.failure.take().unwrap_or_else(|| self.unresolved()));
        }
        for knock in self.unsent {
            if self.sent.iter().all(|sent| sent.to != knock.to) {
                self.sent.push(knock);
            }
        }
        Ok(self.sent)
    }

    fn unresolved(&self) -> ExitError {
        let (wanted, destination) = (&self.grant.wanted, &self.grant.destination);
        destination.unresolved(&self.names, self.families, wanted.target.as_ref())
    }
}

/// Moves on to the first round that is not yet due; whether one was.
fn advance(schedule: Schedule, round: &mut usize, now: Duration) -> bool {
    let first = *round;
    while schedule.due(*round).is_some_and(|due| due <= now) {
        *round = round.saturating_add(1);
    }
    *round > first
}
