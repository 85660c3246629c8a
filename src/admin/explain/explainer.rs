//! Judges one datagram with a gate, and finds out why: whose key made it, what it asks for, what was nearly right.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use postern_proto::limits::PACKET_MAX;
use postern_proto::{GateName, OpenBuffer, Packet, Request, UserKeys};

use super::account::{Account, Cause, Verdict};
use super::known_keys::{KnownKeys, Maker};
use super::refusals::{self, Asked};
use crate::adapters::config::{Loaded, OldKey};
use crate::core::gate::approve::approve;
use crate::core::gate::{
    Admission, Decision, FwknopUser, Gate, HintKeys, HintTable, KeyRows, Refusal, Seen,
};
use crate::model::datagram::Datagram;
use crate::model::mark::StoredMarks;
use crate::model::policy::Policy;
use crate::model::reason::{Drop, Rule};
use crate::model::settings::Settings;
use crate::model::time::Timestamp;

pub(super) const UNKNOWN_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// A gate that gives the cause of each decision.
#[derive(Debug)]
pub struct Explainer {
    pub(super) gate: Gate,
    pub(super) settings: Settings,
    keys: KnownKeys,
    pub(super) disabled_fwknop: Vec<FwknopUser>,
}

impl Explainer {
    /// An explainer for this config. `names` are other gate names that a client may have in its profile.
    pub fn new(loaded: Loaded, names: Vec<GateName>) -> Self {
        let Loaded {
            settings,
            keys,
            codes,
            old_keys,
            fwknop,
            sequences,
            disabled_keys,
            disabled_fwknop,
            ..
        } = loaded;
        let old = old_keys.iter().map(OldKey::parts);
        let gate_names = settings.gate_names();
        let rows = KeyRows::derive(&gate_names, &settings.policies, &keys);
        let gate = Gate::of(settings.clone(), vec![rows], old)
            .with_codes(codes)
            .with_fwknop(fwknop)
            .with_sequences(sequences);
        let disabled = settings.disabled.iter().zip(disabled_keys);
        let disabled = disabled.map(|(policy, material)| {
            let keys = UserKeys::derive(gate_names.of(policy), &material);
            (policy.user.to_string(), keys)
        });
        let own = settings.policies.iter();
        let own: Vec<GateName> = own.map(|policy| gate_names.of(policy).clone()).collect();
        let gate_name = &settings.gate.name;
        let keys = KnownKeys::new(gate_name, &own, keys, &old_keys, disabled, names);
        Self {
            gate,
            settings,
            keys,
            disabled_fwknop,
        }
    }

    /// Loads the marks of a store.
    pub fn recall(&mut self, kept: StoredMarks) {
        self.gate.recall(kept);
    }

    /// Explains a datagram that came at this time. It remembers earlier datagrams: a second copy is a replay.
    pub fn datagram(&mut self, now: Timestamp, datagram: &Datagram) -> Account {
        self.judge(now, datagram, Some(datagram.source()))
    }

    /// Explains a packet of unknown source. It is judged as if it came from an address that the policy allows, if
    /// there is one.
    pub fn packet(&mut self, now: Timestamp, payload: &[u8]) -> Account {
        let source = self.allowed_source(now, payload).unwrap_or(UNKNOWN_ADDRESS);
        let datagram = Datagram::new(source, UNKNOWN_ADDRESS, 0, payload);
        self.judge(now, &datagram, None)
    }

    fn judge(&mut self, now: Timestamp, datagram: &Datagram, source: Option<IpAddr>) -> Account {
        if let Some(steps) = self.gate.table_wanted(now) {
            let table = HintTable::build(&self.gate.hint_keys(), steps);
            self.gate.install(table);
        }
        if self.gate.may_be_fwknop(datagram) {
            let destination = Some(datagram.destination());
            let destination = destination.filter(|address| !address.is_unspecified());
            return self.fwknop(now, datagram.payload(), source, destination);
        }
        let packet = Packet::parse(datagram.payload()).ok();
        let before = packet.and_then(|packet| self.gate.seen(&packet.mark()));
        let decision = self.gate.handle(now, datagram);
        let bytes = datagram.payload().len().min(PACKET_MAX.saturating_add(1));
        let mut account = self.account(now, decision, source, bytes);
        let Some(packet) = packet else { return account };
        match self.maker(&packet) {
            None => {
                account.user = self.keys.disabled(&packet).map(str::to_owned);
                account.cause = self.no_maker(&packet, &account);
            }
            Some(maker) => self.look_inside(&maker, &packet, datagram, before, &mut account),
        }
        account
    }

    /// The account of a decision, before its cause is known.
    pub(super) fn account(
        &self,
        now: Timestamp,
        decision: Decision,
        source: Option<IpAddr>,
        bytes: usize,
    ) -> Account {
        let at = self.gate.clock(now);
        let verdict = match decision {
            Decision::Admit(Admission { request, .. }) => Verdict::Admit(request),
            Decision::Refuse(Refusal { rule, .. }) => Verdict::Refuse(rule),
            Decision::Drop(reason) => Verdict::Drop(reason),
        };
        Account {
            verdict,
            cause: Cause::Length,
            at,
            clock_ahead: at.since(now),
            source,
            bytes,
            gate: self.settings.gate.name.clone(),
            window: self.settings.gate.window,
            user: None,
            mark: None,
            request: None,
            asked: None,
            clipped: None,
            besides: None,
            running: None,
            otherwise: None,
            is_fwknop: false,
            fwknop: None,
        }
    }

    /// Whether some known key made a packet of ours.
    pub(super) fn knows_maker(&self, bytes: &[u8]) -> bool {
        let packet = Packet::parse(bytes).ok();
        packet.is_some_and(|packet| self.keys.maker(&packet, 0..0).is_some())
    }

    pub(super) fn why_quota(&self, policy: &Policy, at: Timestamp) -> String {
        let (spent, _) = self.gate.quotas_left(at, usize::MAX);
        let own = spent.iter().find(|spent| policy.user == spent.user);
        refusals::quota(policy, own, at)
    }

    /// The user whose key in these rows made a packet, and when it was made.
    pub(super) fn made_by(
        &self,
        packet: &Packet<'_>,
        rows: impl Iterator<Item = usize>,
    ) -> Option<(&str, Timestamp)> {
        self.made(packet, self.keys.maker_here(packet, rows)?)
    }

    pub(super) fn made_by_anyone(&self, packet: &Packet<'_>) -> Option<(&str, Timestamp)> {
        self.made(packet, self.keys.maker_here(packet, 0..self.keys.rows())?)
    }

    fn made(&self, packet: &Packet<'_>, maker: Maker<'_>) -> Option<(&str, Timestamp)> {
        let request = open(&maker, packet).ok()?;
        let user = self.policy(maker.user)?.user.as_str();
        Some((user, Timestamp::from_millis(request.timestamp_ms)))
    }

    /// Whether the window allows this difference.
    pub(super) fn allows(&self, at: Timestamp, made: Timestamp) -> bool {
        at.since(made).max(made.since(at)) <= self.settings.gate.window
    }

    pub(super) fn hint_keys(&self) -> HintKeys {
        self.gate.hint_keys()
    }

    fn maker(&self, packet: &Packet<'_>) -> Option<Maker<'_>> {
        let hinted = self.gate.rows_with_hint(packet.hint());
        self.keys.maker(packet, hinted)
    }

    fn policy(&self, user: usize) -> Option<&Policy> {
        self.settings.policies.get(user)
    }

    fn no_maker(&self, packet: &Packet<'_>, account: &Account) -> Cause {
        match (&account.user, &account.verdict) {
            (Some(disabled), _) => Cause::Disabled(disabled.clone()),
            (None, Verdict::Drop(Drop::BadMac)) => {
                let rows = self.gate.rows_with_hint(packet.hint());
                let users = rows.filter_map(|row| self.policy(self.keys.user_of(row)?));
                Cause::Changed {
                    users: users.map(|policy| policy.user.to_string()).collect(),
                }
            }
            _ => Cause::Stranger {
                names: self.keys.names().to_vec(),
            },
        }
    }

    /// Fills in whose packet it is, what it asks for, and why the verdict is what it is.
    fn look_inside(
        &self,
        maker: &Maker<'_>,
        packet: &Packet<'_>,
        datagram: &Datagram,
        before: Option<Seen>,
        account: &mut Account,
    ) {
        let Some(policy) = self.policy(maker.user) else {
            return;
        };
        account.user = Some(policy.user.to_string());
        account.mark = Some(packet.mark());
        let inside = open(maker, packet);
        let why = |rule, request: &Request| {
            let asked = Asked {
                request,
                source: datagram.source(),
                source_known: account.source.is_some(),
                at: account.at,
                policy,
                settings: &self.settings,
            };
            if rule == Rule::Quota {
                return self.why_quota(policy, account.at);
            }
            asked.why(rule)
        };
        account.cause = match (&account.verdict, &inside) {
            (Verdict::Admit(_), _) => Cause::Admitted,
            (Verdict::Refuse(rule), Ok(request)) => Cause::Refused(why(*rule, request)),
            (Verdict::Drop(Drop::Replay | Drop::Duplicate), _) => Cause::Replay { first: before },
            _ => self.near_miss(maker, packet, &inside, account.at),
        };
        let Ok(request) = inside else { return };
        let is_replay = matches!(account.cause, Cause::Replay { .. });
        if matches!(account.verdict, Verdict::Drop(_)) && !is_replay {
            let refused = approve(
                account.at,
                &request,
                datagram.source(),
                policy,
                &self.settings.catalog,
            )
            .err();
            account.besides = refused.map(|rule| (rule, why(rule, &request)));
        }
        account.clipped = refusals::clipped(account.at, &request, policy);
        account.asked = Some(refusals::asked(&request, account.source));
        account.request = Some(request);
    }

    fn near_miss(
        &self,
        maker: &Maker<'_>,
        packet: &Packet<'_>,
        inside: &Result<Request, Drop>,
        at: Timestamp,
    ) -> Cause {
        if let Some(name) = maker.other_gate {
            return Cause::OtherGate(name.clone());
        }
        if let Some(until) = maker.until.filter(|until| *until <= at) {
            return Cause::OldKey(until);
        }
        let request = match inside {
            Ok(request) => request,
            Err(Drop::Malformed(rule)) => return Cause::Malformed(*rule),
            Err(_) => return Cause::NotSealed,
        };
        let made = Timestamp::from_millis(request.timestamp_ms);
        if maker.keys.hint_key().hint(request.step()) != packet.hint() {
            Cause::HintOfAnotherTime
        } else if !self.allows(at, made) {
            Cause::Clock
        } else {
            Cause::Forgotten(self.gate.times().horizon)
        }
    }

    /// The first address that the policy allows for this packet, or the first that it may come from.
    fn allowed_source(&self, now: Timestamp, payload: &[u8]) -> Option<IpAddr> {
        let packet = Packet::parse(payload).ok()?;
        let maker = self.maker(&packet)?;
        let request = open(&maker, &packet).ok()?;
        let policy = self.policy(maker.user)?;
        let networks = policy.from.iter().chain(&policy.networks);
        let mut addresses = networks.map(first_host);
        let first = addresses.next()?;
        let allowed = |source: &IpAddr| {
            approve(now, &request, *source, policy, &self.settings.catalog).is_ok()
        };
        let found = std::iter::once(first).chain(addresses).find(allowed);
        Some(found.unwrap_or(first))
    }
}

fn open(maker: &Maker<'_>, packet: &Packet<'_>) -> Result<Request, Drop> {
    let mut buffer = OpenBuffer::new();
    let body = maker.keys.open(packet, &mut buffer);
    Request::decode(body.map_err(|_| Drop::BadSeal)?).map_err(Drop::Malformed)
}

pub(super) fn first_host(network: &IpNet) -> IpAddr {
    match network.trunc() {
        IpNet::V4(v4) if v4.prefix_len() < 32 => {
            Ipv4Addr::from_bits(v4.network().to_bits().saturating_add(1)).into()
        }
        IpNet::V6(v6) if v6.prefix_len() < 128 => {
            Ipv6Addr::from_bits(v6.network().to_bits().saturating_add(1)).into()
        }
        host => host.addr(),
    }
}
