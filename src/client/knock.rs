//! From a wish to sealed packets, one for each family, and onto the wire (PROTOCOL sections 4 and 5).
//!
//! Owns the random parts of a knock: its nonce and its length. A knock that cannot go out over one family is no failure
//! as long as another can.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::thread;

use postern_proto::{Allow, Request, Sealed, UserKeys, limits, seal};

use super::forge::Forge;
use super::outside::{self, Unseen};
use super::route::Route;
use super::{Exit, Failure, Families, KnockRequest, allow, resolve};
use crate::adapters::clock;
use crate::adapters::random;
use crate::client::profile::{AllowSetting, Endpoint};
use crate::model::address;

/// How knocks get to a gate.
#[derive(Debug, Clone)]
pub struct Way {
    /// Where they go.
    pub to: Vec<Endpoint>,
    /// Over which families.
    pub families: Families,
    /// A forged outer source; none for this machine's own address.
    pub source: Option<IpAddr>,
}

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

/// Looks the gate up and makes its knocks. Sends nothing but questions to the resolver, and to STUN servers where the wish
/// names some.
///
/// # Errors
/// When the wish cannot be written, a host is unknown, the client's own address cannot be told at any address of the gate, or
/// a source is to be forged that cannot be.
pub fn prepare(wish: &KnockRequest, way: &Way, keys: &UserKeys) -> Result<Prepared, Failure> {
    let items = wish.items()?;
    let families = way.families()?;
    let mut forge = way.source.map(Forge::of).transpose()?;
    let gates = resolve::destinations(&way.to, families)?;
    let targets = wish.target.as_ref().map(resolve::addresses).transpose()?;
    let routes: Vec<_> = gates
        .into_iter()
        .map(|gate| (gate, Route::to(gate, forge.take())))
        .collect();
    let own = own_addresses(&wish.allow, &routes)?;
    let now = wish.time_offset.applied_to(clock::wall());
    let mut prepared = Prepared {
        knocks: Vec::new(),
        unreachable: Vec::new(),
    };
    for ((gate, route), own) in routes.into_iter().zip(own) {
        let own = match own {
            Ok(own) => own,
            Err(error) => {
                prepared.unreachable.push((gate, error));
                continue;
            }
        };
        let allow = allow::claim(&wish.allow, gate.ip(), own);
        way.check_claim(allow)?;
        let target = match &targets {
            None => None,
            Some(targets) => match targets
                .iter()
                .find(|target| target.is_ipv4() == lets_in_ipv4(allow, gate.ip()))
            {
                None => continue,
                Some(target) => Some(address::to_wire(*target)),
            },
        };
        let request = Request {
            action: wish.action,
            allow,
            timestamp_ms: now.as_millis(),
            duration_s: wish.seconds(),
            target,
            items: items.clone(),
        };
        let packet = seal_at_random(keys, &request)?;
        prepared.knocks.push(Knock {
            to: gate,
            request,
            packet,
            route,
        });
    }
    match (prepared.knocks.is_empty(), prepared.unreachable.is_empty()) {
        (false, _) => Ok(prepared),
        (true, false) => Err(nothing_sent(
            prepared.unreachable.iter().map(|(to, error)| (*to, error)),
        )),
        (true, true) => Err(target_of_other_family(wish)),
    }
}

/// For each way, the address that a knock may claim to come from.
fn own_addresses(
    setting: &AllowSetting,
    routes: &[(SocketAddr, io::Result<Route>)],
) -> Result<Vec<io::Result<IpAddr>>, Failure> {
    let local = |route: &io::Result<Route>| route.as_ref().map(Route::local).map_err(again);
    let AllowSetting::Stun(servers) = setting else {
        let own = |(gate, route): &(SocketAddr, _)| match setting {
            AllowSetting::Auto => local(route),
            // Whoever is named without the local address is named without a way there, too.
            _ => Ok(local(route).unwrap_or(gate.ip())),
        };
        return Ok(routes.iter().map(own).collect());
    };
    let asked: Vec<io::Result<Result<IpAddr, Unseen>>> = thread::scope(|scope| {
        let ask = |(_, route)| {
            local(route).map(|local| scope.spawn(move || outside::seen_from(local, servers)))
        };
        let asked: Vec<_> = routes
            .iter()
            .map(|(gate, route)| ask((gate, route)))
            .collect();
        asked
            .into_iter()
            .map(|one| {
                one.and_then(|one| {
                    one.join()
                        .map_err(|_| io::Error::other("the question failed"))
                })
            })
            .collect()
    });
    let seen = asked.into_iter().map(|seen| match seen {
        Ok(Ok(seen)) => Ok(Ok(seen)),
        Ok(Err(Unseen::Silence(said))) => Ok(Err(io::Error::other(said))),
        Ok(Err(Unseen::Disagreement(said))) => Err(Failure::new(
            Exit::Unavailable,
            said,
            "name servers that you trust, or the address itself with --allow",
        )),
        Err(error) => Ok(Err(error)),
    });
    seen.collect()
}

/// The same error once more.
fn again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

impl Way {
    /// With a forged source, only its own family.
    fn families(&self) -> Result<Families, Failure> {
        match (self.source, self.families) {
            (None, families) => Ok(families),
            (Some(source), families) if !families.take(source) => Err(Failure::new(
                Exit::Usage,
                format!("{source} is of the other family"),
                "leave out -4 and -6, or forge another source",
            )),
            (Some(IpAddr::V4(_)), _) => Ok(Families::V4),
            (Some(IpAddr::V6(_)), _) => Ok(Families::V6),
        }
    }

    /// With a forged source the source is no one to let in.
    fn check_claim(&self, allow: Allow) -> Result<(), Failure> {
        match (self.source, allow) {
            (Some(source), Allow::Source { .. }) => {
                let what = format!("the knock would let in its source, {source}, which is forged");
                Err(Failure::new(
                    Exit::Usage,
                    what,
                    "name the address to let in with --allow ADDRESS",
                ))
            }
            _ => Ok(()),
        }
    }
}

/// Seals a request under a fresh nonce, in a body of random length, so that the packet's length says nothing.
///
/// # Errors
/// When the system has no random bytes, or the request breaks a rule of the wire format.
pub fn seal_at_random(keys: &UserKeys, request: &Request) -> Result<Sealed, Failure> {
    let no_random =
        |error: io::Error| Failure::new(Exit::Io, error, "try again once the system is up");
    let nonce = random::bytes().map_err(no_random)?;
    let shortest = request.encoded_len().max(limits::BODY_MIN);
    let length = random::between(shortest, limits::BODY_MAX).map_err(no_random)?;
    seal(keys, request, nonce, length).map_err(|error| {
        Failure::new(
            Exit::Usage,
            format!("no knock can say that: {error}"),
            "change what it asks for",
        )
    })
}

/// A packet filter cannot tell an IPv4 client's way to an IPv6 host: target and client are of one family.
pub(super) fn lets_in_ipv4(allow: Allow, gate: IpAddr) -> bool {
    match allow {
        Allow::Source { .. } => gate.is_ipv4(),
        Allow::Network { address, prefix } => address::network_from_wire(address, prefix)
            .is_some_and(|network| network.addr().is_ipv4()),
    }
}

fn target_of_other_family(wish: &KnockRequest) -> Failure {
    let target = wish
        .target
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    let what = format!("the target {target} has no address of the family that is to be let in");
    Failure::new(
        Exit::NoHost,
        what,
        "name a target of the same family, or choose the family with -4 or -6",
    )
}

impl Prepared {
    /// Sends them all. One that goes out is enough.
    ///
    /// # Errors
    /// When none could be sent; each address is named with its error.
    pub fn send(self) -> Result<Vec<Sent>, Failure> {
        let unreachable = self.unreachable.into_iter().map(|(to, error)| Sent {
            to,
            request: None,
            outcome: Err(error),
        });
        let knocks = self.knocks.into_iter().map(|knock| {
            let outcome = knock
                .route
                .and_then(|route| route.send(knock.packet.as_bytes()));
            Sent {
                to: knock.to,
                request: Some(knock.request),
                outcome,
            }
        });
        let sent: Vec<Sent> = knocks.chain(unreachable).collect();
        if sent.iter().any(|sent| sent.outcome.is_ok()) {
            return Ok(sent);
        }
        Err(nothing_sent(sent.iter().filter_map(|sent| {
            sent.outcome.as_ref().err().map(|error| (sent.to, error))
        })))
    }
}

fn nothing_sent<'a>(errors: impl Iterator<Item = (SocketAddr, &'a io::Error)> + Clone) -> Failure {
    let said = errors
        .clone()
        .map(|(to, error)| format!("no way to {to}: {error}"))
        .collect::<Vec<_>>()
        .join(", ");
    if errors
        .clone()
        .any(|(_, error)| error.kind() == io::ErrorKind::PermissionDenied)
    {
        return Failure::new(
            Exit::Permission,
            said,
            "check the address and the firewall of this machine",
        );
    }
    Failure::new(Exit::Unavailable, said, "check this machine's network")
}
