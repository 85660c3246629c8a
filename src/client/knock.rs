//! From a wish to sealed packets, one for each family, and onto the wire (PROTOCOL sections 4 and 5).
//!
//! Owns the random parts of a knock: its nonce and its length. A knock that cannot go out over one family is no failure
//! as long as another can.

use std::io;
use std::net::{IpAddr, SocketAddr};

use postern_proto::{Allow, Request, Sealed, UserKeys, limits, seal};

use super::route::Route;
use super::{Exit, Failure, Families, Wish, allow, resolve};
use crate::address;
use crate::clock;
use crate::profile::{AllowSetting, Endpoint};
use crate::random;

/// One knock, ready to go.
#[derive(Debug)]
pub struct Knock {
    /// The gate's address.
    pub to: SocketAddr,
    /// What it says.
    pub request: Request,
    /// The bytes.
    pub packet: Sealed,
    route: io::Result<Route>,
}

/// All knocks of one command.
#[derive(Debug)]
pub struct Prepared {
    /// One for each family; never empty.
    pub knocks: Vec<Knock>,
    /// Where no knock could be made, for there is no way there.
    pub unreachable: Vec<(SocketAddr, io::Error)>,
}

/// What became of a knock.
#[derive(Debug)]
pub struct Sent {
    /// The gate's address.
    pub to: SocketAddr,
    /// What it said; none if it could not be made.
    pub request: Option<Request>,
    /// Whether it is on its way.
    pub outcome: io::Result<()>,
}

/// Looks the gate up and makes its knocks. Sends nothing but questions to the resolver.
///
/// # Errors
/// When the wish cannot be written, a host is unknown, or `auto` finds no way to any address of the gate.
pub fn prepare(wish: &Wish, to: &[Endpoint], families: Families, keys: &UserKeys) -> Result<Prepared, Failure> {
    let items = wish.items()?;
    let gates = resolve::destinations(to, families)?;
    let targets = wish.target.as_ref().map(resolve::addresses).transpose()?;
    let now = clock::wall();
    let mut prepared = Prepared { knocks: Vec::new(), unreachable: Vec::new() };
    for gate in gates {
        let route = Route::to(gate);
        let local = match (&route, wish.allow) {
            (Ok(route), _) => route.local(),
            (Err(_), AllowSetting::Auto) => {
                prepared.unreachable.extend(route.err().map(|error| (gate, error)));
                continue;
            }
            // Whoever is named without the local address is named without a way there, too.
            (Err(_), _) => gate.ip(),
        };
        let allow = allow::claim(wish.allow, gate.ip(), local);
        let target = match &targets {
            None => None,
            Some(targets) => match targets.iter().find(|target| target.is_ipv4() == lets_in_ipv4(allow, gate.ip())) {
                None => continue,
                Some(target) => Some(address::to_wire(*target)),
            },
        };
        let request =
            Request { action: wish.action, allow, timestamp_ms: now.as_millis(), duration_s: wish.seconds(), target, items: items.clone() };
        let packet = seal_at_random(keys, &request)?;
        prepared.knocks.push(Knock { to: gate, request, packet, route });
    }
    match (prepared.knocks.is_empty(), prepared.unreachable.is_empty()) {
        (false, _) => Ok(prepared),
        (true, false) => Err(nothing_sent(prepared.unreachable.iter().map(|(to, error)| (*to, error)))),
        (true, true) => Err(target_of_other_family(wish)),
    }
}

/// Seals a request under a fresh nonce, in a body of random length, so that the packet's length says nothing.
///
/// # Errors
/// When the system has no random bytes, or the request breaks a rule of the wire format.
pub fn seal_at_random(keys: &UserKeys, request: &Request) -> Result<Sealed, Failure> {
    let no_random = |error: io::Error| Failure::new(Exit::Io, error, "try again once the system is up");
    let nonce = random::bytes().map_err(no_random)?;
    let shortest = request.encoded_len().max(limits::BODY_MIN);
    let length = random::between(shortest, limits::BODY_MAX).map_err(no_random)?;
    seal(keys, request, nonce, length)
        .map_err(|error| Failure::new(Exit::Usage, format!("no knock can say that: {error}"), "change what it asks for"))
}

/// A packet filter cannot tell an IPv4 client's way to an IPv6 host: target and client are of one family.
fn lets_in_ipv4(allow: Allow, gate: IpAddr) -> bool {
    match allow {
        Allow::Source { .. } => gate.is_ipv4(),
        Allow::Network { address, prefix } => address::network_from_wire(address, prefix).is_some_and(|network| network.addr().is_ipv4()),
    }
}

fn target_of_other_family(wish: &Wish) -> Failure {
    let target = wish.target.as_ref().map(ToString::to_string).unwrap_or_default();
    let what = format!("the target {target} has no address of the family that is to be let in");
    Failure::new(Exit::NoHost, what, "name a target of the same family, or choose the family with -4 or -6")
}

impl Prepared {
    /// Sends them all. One that goes out is enough.
    ///
    /// # Errors
    /// When none could be sent; each address is named with its error.
    pub fn send(self) -> Result<Vec<Sent>, Failure> {
        let unreachable = self.unreachable.into_iter().map(|(to, error)| Sent { to, request: None, outcome: Err(error) });
        let knocks = self.knocks.into_iter().map(|knock| {
            let outcome = knock.route.and_then(|route| route.send(knock.packet.as_bytes()));
            Sent { to: knock.to, request: Some(knock.request), outcome }
        });
        let sent: Vec<Sent> = knocks.chain(unreachable).collect();
        if sent.iter().any(|sent| sent.outcome.is_ok()) {
            return Ok(sent);
        }
        Err(nothing_sent(sent.iter().filter_map(|sent| sent.outcome.as_ref().err().map(|error| (sent.to, error)))))
    }
}

fn nothing_sent<'a>(errors: impl Iterator<Item = (SocketAddr, &'a io::Error)> + Clone) -> Failure {
    let said = errors.clone().map(|(to, error)| format!("no way to {to}: {error}")).collect::<Vec<_>>().join(", ");
    if errors.clone().any(|(_, error)| error.kind() == io::ErrorKind::PermissionDenied) {
        return Failure::new(Exit::Permission, said, "check the address and the firewall of this machine");
    }
    Failure::new(Exit::Unavailable, said, "check this machine's network")
}
