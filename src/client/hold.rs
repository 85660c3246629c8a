//! A door that is held open while something lasts: knocked at, again before its end, and closed when it is no longer needed.
//!
//! Remembers what was asked, so that just that is closed: an address that a STUN server named may be another one by then.

use std::net::SocketAddr;

use postern_proto::{Action, Code, Item, Request, UserKeys};

use super::knock::lets_in_ipv4;
use super::route::Route;
use super::{Failure, KnockRequest, Sent, Way, prepare, seal_at_random};
use crate::adapters::clock;
use crate::model::address;

/// What to knock for, and what was knocked for.
#[derive(Debug)]
pub struct Hold {
    wish: KnockRequest,
    way: Way,
    keys: UserKeys,
    /// Of the last knock and the one before it; what is older has ended by itself.
    asked: [Vec<(SocketAddr, Request)>; 2],
}

impl Hold {
    /// For this wish; nothing is sent yet.
    pub fn new(wish: KnockRequest, way: Way, keys: UserKeys) -> Self {
        Self {
            wish,
            way,
            keys,
            asked: [Vec::new(), Vec::new()],
        }
    }

    /// Knocks, at first or once more.
    ///
    /// # Errors
    /// As [`prepare`] and sending.
    pub fn knock(&mut self, code: Option<Code>) -> Result<Vec<Sent>, Failure> {
        self.wish.code = code;
        let sent = prepare(&self.wish, &self.way, &self.keys).and_then(super::Prepared::send);
        self.wish.code = None;
        let sent = sent?;
        self.asked.rotate_right(1);
        if let Some(latest) = self.asked.first_mut() {
            *latest = went_out(&sent)
                .map(|(to, request)| (to, request.clone()))
                .collect();
        }
        Ok(sent)
    }

    /// Asks the gate to close what these knocks opened, and nothing else. A lost knock does no harm: the grant ends by itself.
    ///
    /// # Errors
    /// When a knock cannot be made.
    pub fn close(&self) -> Result<Vec<Sent>, Failure> {
        let mut closings: Vec<(SocketAddr, Request)> = Vec::new();
        let now = self.wish.time_offset.applied_to(clock::wall()).as_millis();
        for (to, asked) in self.asked.iter().flatten() {
            let services = asked
                .items
                .iter()
                .filter(|item| !matches!(item, Item::Code(_)));
            let items = services.cloned().collect();
            let request = Request {
                action: Action::Close,
                timestamp_ms: now,
                duration_s: 0,
                items,
                ..asked.clone()
            };
            if !closings.contains(&(*to, request.clone())) {
                closings.push((*to, request));
            }
        }
        let send = |(to, request): (SocketAddr, Request)| {
            let packet = seal_at_random(&self.keys, &request)?;
            let outcome = Route::to(to, None).and_then(|route| route.send(packet.as_bytes()));
            Ok(Sent {
                to,
                request: Some(request),
                outcome,
            })
        };
        closings.into_iter().map(send).collect()
    }
}

/// Where to try a TCP port once these knocks are out: at the target of each, or at the gate itself.
pub fn doors(sent: &[Sent], port: u16) -> Vec<SocketAddr> {
    let mut doors: Vec<SocketAddr> = Vec::new();
    for (gate, request) in went_out(sent) {
        let mut door = request.target.map_or(gate, |target| {
            SocketAddr::new(address::from_wire(target), 0)
        });
        door.set_port(port);
        if !doors.contains(&door) {
            doors.push(door);
        }
    }
    doors
}

/// Whether one of these knocks lets in an address of the family that would be used to reach this host.
pub fn lets_in(sent: &[Sent], host: SocketAddr) -> bool {
    went_out(sent).any(|(gate, request)| lets_in_ipv4(request.allow, gate.ip()) == host.is_ipv4())
}

fn went_out(sent: &[Sent]) -> impl Iterator<Item = (SocketAddr, &Request)> {
    sent.iter()
        .filter(|sent| sent.outcome.is_ok())
        .filter_map(|sent| sent.request.as_ref().map(|request| (sent.to, request)))
}
