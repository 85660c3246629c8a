//! A grant that a command needs for some time: what asked for it, and how to close it.
//!
//! Remembers each request, so that it closes exactly what it opened: a STUN server may see another address by then.

use std::iter::repeat_n;
use std::net::SocketAddr;
use std::time::Duration;

use postern_proto::{Action, Allow, Item, Request};

use super::KnockRequest;
use super::knock::{Destination, SentKnock, allows_ipv4};
use super::route::{Route, UNKNOWN_PATH};
use super::schedule::Schedule;
use super::secrets::Secrets;
use crate::adapters::clock;
use crate::model::address;
use crate::model::exit::ExitError;

#[derive(Debug)]
pub(crate) struct OpenGrant {
    pub(super) wanted: KnockRequest,
    pub(super) destination: Destination,
    pub(super) secrets: Secrets,
    pub(super) schedule: Schedule,
    /// What the last knocks asked for and the ones before; older grants have ended.
    asked: [Vec<(SocketAddr, Request)>; 2],
    /// What was open for an own address that changed, until it can be closed.
    stale: Vec<(SocketAddr, Request)>,
    /// When knocks were sent, counted from the start of the system. A quota counts them over all waits.
    spent: Vec<Duration>,
}

impl OpenGrant {
    pub(crate) fn new(
        wanted: KnockRequest,
        destination: Destination,
        secrets: Secrets,
        schedule: Schedule,
    ) -> Self {
        Self {
            wanted,
            destination,
            secrets,
            schedule,
            asked: [Vec::new(), Vec::new()],
            stale: Vec::new(),
            spent: Vec::new(),
        }
    }

    /// Takes over what was sent in one wait. Closes what was open for an own address that is no longer claimed, as soon
    /// as the gate is reached.
    pub(super) fn remember(&mut self, sent: &[SentKnock], is_reached: bool) {
        self.count(sent);
        let latest = delivered(sent).map(|(to, request)| (to, request.clone()));
        let [newest, older] = &mut self.asked;
        *older = std::mem::replace(newest, latest.collect());
        // The address may have changed during the wait, too: the last claim counts.
        let mut claims = newest.clone();
        claims.retain(|(_, new)| is_claim(new.allow));
        claims.sort_by_key(|(_, new)| new.timestamp_ms);
        let gates: Vec<SocketAddr> = newest.iter().map(|(to, _)| *to).collect();
        let is_stale = |(to, old): &mut (SocketAddr, Request)| {
            let now = claims.iter().rev().find(|(gate, _)| gate == to);
            is_claim(old.allow)
                && gates.contains(to)
                && now.map(|(_, now)| now.allow) != Some(old.allow)
        };
        self.stale.extend(newest.extract_if(.., is_stale));
        self.stale.extend(older.extract_if(.., is_stale));
        if !is_reached {
            return;
        }
        // Without an answer nobody knows whether it worked. What stays open ends by itself.
        let stale = std::mem::take(&mut self.stale);
        if let Ok(closings) = self.close_each(&stale) {
            self.count(&closings);
        }
    }

    fn count(&mut self, sent: &[SentKnock]) {
        let now = clock::since_boot();
        let count = sent.iter().map(|knock| knock.count).sum();
        self.spent = self.recent().chain(repeat_n(now, count)).collect();
    }

    /// When the knocks were sent that half of the quota still counts.
    pub(super) fn recent(&self) -> impl Iterator<Item = Duration> {
        let ((_, time), now) = (self.schedule.half(), clock::since_boot());
        let spent = self.spent.iter().copied();
        spent.filter(move |spent| now.saturating_sub(*spent) < time)
    }

    /// How long to wait until half of the quota has room for a knock of each family.
    pub(super) fn until_room(&self) -> Duration {
        let needed = self.wanted.claims_at_most().saturating_mul(2);
        let recent: Vec<Duration> = self.recent().collect();
        self.schedule
            .until_room(clock::since_boot(), &recent, needed)
    }

    /// The addresses of the gate that the last knocks went to.
    pub(super) fn gates(&self) -> Vec<SocketAddr> {
        let [newest, _] = &self.asked;
        let mut gates: Vec<SocketAddr> = newest.iter().map(|(to, _)| *to).collect();
        gates.dedup();
        gates
    }

    /// Whether [`Self::close`] can end it early.
    pub(crate) fn can_close(&self) -> bool {
        self.secrets.can_close()
    }

    /// Asks the gate to close what these knocks opened. A lost packet is harmless: the grant ends by itself.
    pub(crate) fn close(&self) -> Result<Vec<SentKnock>, ExitError> {
        self.close_each(&[self.asked.concat(), self.stale.clone()].concat())
    }

    fn close_each(&self, grants: &[(SocketAddr, Request)]) -> Result<Vec<SentKnock>, ExitError> {
        if !self.can_close() {
            return Ok(Vec::new());
        }
        let now = self.wanted.time_offset.applied_to(clock::wall());
        let mut closings: Vec<(SocketAddr, Request)> = Vec::new();
        for (to, asked) in grants {
            let mut request = Request {
                action: Action::Close,
                timestamp_ms: now.as_millis(),
                duration_s: 0,
                ..asked.clone()
            };
            request.items.retain(|item| !matches!(item, Item::Code(_)));
            let closing = (*to, request);
            if !closings.contains(&closing) {
                closings.push(closing);
            }
        }
        let send = |(to, request): (SocketAddr, Request)| {
            let route = Route::to(to, None);
            let longest = route.as_ref().map_or(UNKNOWN_PATH, Route::longest);
            let outgoing = self.secrets.encode(&request, longest)?;
            let outcome = route.and_then(|route| outgoing.send(&route));
            Ok(SentKnock {
                to,
                request: Some(request),
                count: usize::from(outcome.is_ok()),
                outcome,
            })
        };
        closings.into_iter().map(send).collect()
    }
}

fn is_claim(allow: Allow) -> bool {
    matches!(allow, Allow::Network { .. })
}

/// Where to try a TCP port after these knocks: at the target of each, or at the gate itself.
pub(crate) fn service_addresses(sent: &[SentKnock], port: u16) -> Vec<SocketAddr> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for (gate, request) in delivered(sent) {
        let mut address = gate;
        if let Some(target) = request.target {
            address = SocketAddr::new(address::from_knock(target), port);
        }
        address.set_port(port);
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

/// Whether one of these knocks allows an address of the family that reaches this host.
pub(crate) fn allows(sent: &[SentKnock], host: SocketAddr) -> bool {
    delivered(sent).any(|(gate, request)| allows_ipv4(request.allow, gate.ip()) == host.is_ipv4())
}

fn delivered(sent: &[SentKnock]) -> impl Iterator<Item = (SocketAddr, &Request)> {
    let delivered = sent.iter().filter(|sent| sent.outcome.is_ok());
    delivered.filter_map(|sent| Some((sent.to, sent.request.as_ref()?)))
}
