//! A grant that a command needs for some time: what asked for it, and how to close it.
//!
//! Remembers each request, so that it closes exactly what it opened: a STUN server may see another address by then.

use std::net::SocketAddr;

use postern_proto::{Action, Item, Request, UserKeys};

use super::KnockRequest;
use super::knock::{Destination, SentKnock, allows_ipv4, seal_within};
use super::route::{Route, UNKNOWN_PATH};
use super::schedule::Schedule;
use crate::adapters::clock;
use crate::model::address;
use crate::model::exit::ExitError;

#[derive(Debug)]
pub(crate) struct OpenGrant {
    pub(super) wanted: KnockRequest,
    pub(super) destination: Destination,
    pub(super) keys: UserKeys,
    pub(super) schedule: Schedule,
    /// What the last knocks asked for and the ones before; older grants have ended.
    asked: [Vec<(SocketAddr, Request)>; 2],
}

impl OpenGrant {
    pub(crate) fn new(
        wanted: KnockRequest,
        destination: Destination,
        keys: UserKeys,
        schedule: Schedule,
    ) -> Self {
        Self {
            wanted,
            destination,
            keys,
            schedule,
            asked: [Vec::new(), Vec::new()],
        }
    }

    pub(super) fn remember(&mut self, sent: &[SentKnock]) {
        self.asked.rotate_right(1);
        if let Some(latest) = self.asked.first_mut() {
            let delivered = delivered(sent);
            *latest = delivered
                .map(|(to, request)| (to, request.clone()))
                .collect();
        }
    }

    /// Asks the gate to close what these knocks opened. A lost packet is harmless: the grant ends by itself.
    pub(crate) fn close(&self) -> Result<Vec<SentKnock>, ExitError> {
        let now = self.wanted.time_offset.applied_to(clock::wall());
        let mut closings: Vec<(SocketAddr, Request)> = Vec::new();
        for (to, asked) in self.asked.iter().flatten() {
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
            let packet = seal_within(&self.keys, &request, longest)?;
            let outcome = route.and_then(|route| route.send(packet.as_bytes()));
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
