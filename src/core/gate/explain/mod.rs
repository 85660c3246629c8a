//! Why: what a gate says of one datagram, how far it came through the steps, and what about it was nearly right.
//!
//! For `posternd explain` alone. A gate of its own judges, so the verdict cannot differ from the running gate's. Near misses
//! that a running gate must not treat specially (a right key at a wrong time, or for another gate's name) are looked for only here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use postern_proto::{GateName, KeyMaterial, OpenBuffer, Packet, Request, UserKeys};

use super::{Admission, Decision, Gate, HintTable, Refusal, Seen};
use crate::model::datagram::Datagram;
use crate::model::reason::Drop;
use crate::model::time::Timestamp;

mod account;
mod concrete;
mod maker;
mod names;
mod steps;
mod words;

pub use account::{Account, Cause, Otherwise, Verdict};
use concrete::Origin;
use maker::{Maker, Rings};
pub use names::likely;
pub use steps::{Outcome, Step};

const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// A gate that says why.
#[derive(Debug)]
pub struct Explainer {
    gate: Gate,
    name: GateName,
    rings: Rings,
}

/// What is in a packet whose maker is known.
enum Inside {
    Request(Request),
    Broken(Drop),
}

impl Explainer {
    /// Around this gate. `keys` are in the order of its users, `names` are other gates' names that a client may have in place of its own.
    pub fn new(gate: Gate, name: GateName, keys: Vec<KeyMaterial>, names: Vec<GateName>) -> Self {
        Self {
            gate,
            name,
            rings: Rings::new(keys, names),
        }
    }

    /// Users whose keys count for nothing now, but are known.
    #[must_use]
    pub fn with_disabled<'a>(
        mut self,
        disabled: impl IntoIterator<Item = (String, &'a KeyMaterial)>,
    ) -> Self {
        let name = &self.name;
        disabled.into_iter().for_each(|(user, material)| {
            self.rings
                .add_disabled(user, UserKeys::derive(name, material))
        });
        self
    }

    /// Judges a datagram that came at this time. Those before it count: a packet that comes again is a replay.
    pub fn datagram(&mut self, now: Timestamp, datagram: &Datagram) -> Account {
        self.judge(now, datagram, Some(datagram.source()))
    }

    /// Judges a packet of which nobody knows where it came from: as if from an address that the policy lets in, if there is one.
    pub fn packet(&mut self, now: Timestamp, payload: &[u8]) -> Account {
        let source = self.stand_in(payload).unwrap_or(NOWHERE);
        self.judge(now, &Datagram::new(source, NOWHERE, 0, payload), None)
    }

    fn judge(&mut self, now: Timestamp, datagram: &Datagram, source: Option<IpAddr>) -> Account {
        if let Some(steps) = self.gate.table_wanted(now) {
            let table = HintTable::build(&self.gate.hint_keys(), steps);
            self.gate.install(table);
        }
        let at = self.gate.replay.clock(now);
        let packet = Packet::parse(datagram.payload()).ok();
        let before = packet.and_then(|packet| self.gate.seen(&packet.mark()));
        let verdict = match self.gate.handle(now, datagram) {
            Decision::Admit(Admission { request, .. }) => Verdict::Admit(request),
            Decision::Refuse(Refusal { rule, .. }) => Verdict::Refuse(rule),
            Decision::Drop(reason) => Verdict::Drop(reason),
        };
        let mut account = Account::new(
            verdict,
            at,
            source,
            datagram.payload().len(),
            self.name.clone(),
            self.gate.window,
        );
        account.clock_ahead = at.since(now);
        let Some(packet) = packet else { return account };
        match self.rings.maker(&self.gate, &packet) {
            None => {
                account.user = self.rings.disabled(&packet).map(str::to_owned);
                account.cause = self.no_maker(&packet, &account);
            }
            Some(maker) => self.look_inside(&maker, &packet, datagram, before, &mut account),
        }
        account
    }

    fn no_maker(&self, packet: &Packet<'_>, account: &Account) -> Cause {
        match (&account.user, &account.verdict) {
            (Some(disabled), _) => Cause::Disabled(disabled.clone()),
            (None, Verdict::Drop(Drop::BadMac)) => {
                let rows = self.gate.hints.find(packet.hint()).into_iter().flatten();
                let knockers = rows.filter_map(|(user, _)| self.gate.users.knocker(user));
                Cause::Changed {
                    users: knockers.map(|knocker| knocker.name.to_owned()).collect(),
                }
            }
            _ => Cause::Stranger {
                names: self.rings.names().to_vec(),
            },
        }
    }

    /// Whose packet it is, what is in it, and why the verdict is what it is.
    fn look_inside(
        &self,
        maker: &Maker,
        packet: &Packet<'_>,
        datagram: &Datagram,
        before: Option<Seen>,
        account: &mut Account,
    ) {
        let Some(knocker) = self.gate.users.knocker(maker.user) else {
            return;
        };
        account.user = Some(knocker.name.to_owned());
        account.mark = Some(packet.mark());
        let inside = self.open(maker, packet);
        let from = Origin {
            address: datagram.source(),
            known: account.source.is_some(),
        };
        let why = |rule, request: &Request| {
            concrete::why(rule, request, from, &knocker, &self.gate, account.at)
        };
        account.cause = match (&account.verdict, &inside) {
            (Verdict::Admit(_), _) => Cause::Admitted,
            (Verdict::Refuse(rule), Inside::Request(request)) => {
                Cause::Refused(why(*rule, request))
            }
            (Verdict::Drop(Drop::Replay | Drop::Duplicate), _) => Cause::Replay { first: before },
            _ => self.near_miss(maker, packet, &inside, account.at),
        };
        let Inside::Request(request) = inside else {
            return;
        };
        if matches!(account.verdict, Verdict::Drop(_))
            && !matches!(account.cause, Cause::Replay { .. })
        {
            account.besides = self
                .gate
                .wish(&request, datagram, &knocker)
                .err()
                .map(|rule| (rule, why(rule, &request)));
        }
        account.clipped = concrete::clipped(&request, &knocker);
        account.asked = Some(concrete::asked(&request, account.source));
        account.request = Some(request);
    }

    /// Dropped, though some key of the gate's users made it.
    fn near_miss(
        &self,
        maker: &Maker,
        packet: &Packet<'_>,
        inside: &Inside,
        at: Timestamp,
    ) -> Cause {
        if let Some(name) = self.rings.other_name(maker) {
            return Cause::OtherGate(name.clone());
        }
        if let Some(until) = self
            .gate
            .users
            .until(maker.user)
            .filter(|until| *until <= at)
        {
            return Cause::OldKey(until);
        }
        let request = match inside {
            Inside::Request(request) => request,
            Inside::Broken(Drop::Malformed(rule)) => return Cause::Malformed(*rule),
            Inside::Broken(_) => return Cause::NotSealed,
        };
        let made = Timestamp::from_millis(request.timestamp_ms);
        if self.gate.users.hint_of(maker.user, request.step()) != Some(packet.hint()) {
            Cause::HintOfAnotherTime
        } else if at.since(made).max(made.since(at)) > self.gate.window {
            Cause::Clock
        } else {
            Cause::Forgotten(self.gate.times().horizon)
        }
    }

    fn open(&self, maker: &Maker, packet: &Packet<'_>) -> Inside {
        let mut buffer = OpenBuffer::new();
        let opened = match self.rings.other_keys(maker) {
            Some(keys) => keys.open(packet, &mut buffer).ok(),
            None => self
                .gate
                .users
                .knocker(maker.user)
                .and_then(|knocker| knocker.seal_key.open(packet, &mut buffer).ok()),
        };
        match opened.map(Request::decode) {
            None => Inside::Broken(Drop::BadSeal),
            Some(Err(rule)) => Inside::Broken(Drop::Malformed(rule)),
            Some(Ok(request)) => Inside::Request(request),
        }
    }

    /// An address from which the packet's user may knock, the first that the policy says yes to.
    fn stand_in(&mut self, payload: &[u8]) -> Option<IpAddr> {
        let packet = Packet::parse(payload).ok()?;
        let maker = self.rings.maker(&self.gate, &packet)?;
        let Inside::Request(request) = self.open(&maker, &packet) else {
            return None;
        };
        let knocker = self.gate.users.knocker(maker.user)?;
        let addresses: Vec<IpAddr> = knocker.policy.networks.iter().map(somebody_in).collect();
        let may = |source: &&IpAddr| {
            self.gate
                .wish(
                    &request,
                    &Datagram::new(**source, NOWHERE, 0, &[]),
                    &knocker,
                )
                .is_ok()
        };
        addresses.iter().find(may).or(addresses.first()).copied()
    }
}

/// The network's first address that can be somebody's.
fn somebody_in(network: &IpNet) -> IpAddr {
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
