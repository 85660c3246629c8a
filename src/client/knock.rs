//! From a request to sealed packets, one for each address family, and onto the network
//! (`proto/README.md`, sections 4 and 5).
//!
//! One family that cannot be reached is no failure while another can.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::thread;

use postern_proto::{Allow, Request, Sealed, UserKeys, limits, seal};

use super::KnockRequest;
use super::allow::{self, Way};
use super::keys::no_random_bytes;
use super::nat64::PrefixQuestion;
use super::public_address::{self, Unseen};
use super::resolve::{self, Families};
use super::route::Route;
use super::spoof::SpoofedSender;
use crate::adapters::clock;
use crate::adapters::random;
use crate::adapters::routes::Routes;
use crate::client::profile::{AllowSetting, Endpoint, StunServers};
use crate::model::address;
use crate::model::exit::{ExitError, NO_HOST, PERMISSION, UNAVAILABLE, USAGE};

#[derive(Debug, Clone)]
pub(crate) struct Destination {
    pub(crate) addresses: Vec<Endpoint>,
    pub(crate) families: Families,
    pub(crate) spoofed_source: Option<IpAddr>,
}

#[derive(Debug)]
pub(crate) struct PreparedKnock {
    pub(crate) to: SocketAddr,
    pub(crate) sealed: io::Result<SealedKnock>,
}

#[derive(Debug)]
pub(crate) struct SealedKnock {
    pub(crate) request: Request,
    pub(crate) packet: Sealed,
    route: io::Result<Route>,
}

#[derive(Debug)]
pub(crate) struct SentKnock {
    pub(crate) to: SocketAddr,
    /// Its content; `None` if it could not be made.
    pub(crate) request: Option<Request>,
    pub(crate) outcome: io::Result<()>,
}

/// Resolves the gate and makes at most one knock for each family. Sends only DNS and STUN questions.
pub(crate) fn prepare(
    asked: &KnockRequest,
    destination: &Destination,
    keys: &UserKeys,
) -> Result<Vec<PreparedKnock>, ExitError> {
    let items = asked.items()?;
    let families = destination.families()?;
    let spoofed = destination.spoofed_source.map(SpoofedSender::new);
    let mut spoofed = spoofed.transpose()?;
    let prefixes = PrefixQuestion::ask(&destination.addresses);
    let gates = resolve::destinations(&destination.addresses, families)?.into_iter();
    let targets = asked
        .target
        .as_ref()
        .map(|target| resolve::look_up(target, 0));
    let targets = targets.transpose()?;
    let routes: Vec<_> = gates
        .map(|gate| (gate, Route::to(gate, spoofed.take())))
        .collect();
    let seen = match &asked.allow {
        AllowSetting::Stun(servers) => public_addresses(servers, &routes)?,
        _ => Vec::new(),
    };
    let mut seen = seen.into_iter();
    let prefixes = prefixes.answer();
    let now = asked.time_offset.applied_to(clock::wall());
    let mut knocks = Vec::new();
    for (to, route) in routes {
        let (own, route) = match own_address(to, route, &asked.allow, &mut seen) {
            Ok(own) => own,
            Err(error) => {
                let sealed = Err(error);
                knocks.push(PreparedKnock { to, sealed });
                continue;
            }
        };
        let way = Way {
            gate: to.ip(),
            local: own,
            is_near: is_near(own, to.ip()),
            is_nat64: prefixes.translate(to.ip()),
        };
        let mut route = Some(route);
        for allow in allow::claims(&asked.allow, asked.grant_to, &way, asked.code.is_some()) {
            destination.check_allow(allow)?;
            let in_ipv4 = allows_ipv4(allow, to.ip());
            // A packet filter matches client and target in one rule, so both are of one family.
            let target = match &targets {
                None => None,
                Some(targets) => match targets.iter().find(|target| target.is_ipv4() == in_ipv4) {
                    None => continue,
                    Some(target) => Some(address::to_knock(target.ip())),
                },
            };
            let request = Request {
                action: asked.action,
                allow,
                timestamp_ms: now.as_millis(),
                duration_s: asked.seconds(),
                target,
                items: items.clone(),
            };
            let packet = seal_at_random(keys, &request)?;
            let sealed = Ok(SealedKnock {
                request,
                packet,
                route: route.take().unwrap_or_else(|| Route::to(to, None)),
            });
            knocks.push(PreparedKnock { to, sealed });
        }
    }
    let errors = knocks.iter();
    let mut errors = errors.filter_map(|knock| Some((knock.to, knock.sealed.as_ref().err()?)));
    match &asked.target {
        Some(target) if knocks.is_empty() => {
            let what = format!("the target {target} has no address of the family to allow");
            let cure = "name a target of the same family, or choose the family with -4 or -6";
            Err(ExitError::new(NO_HOST, format!("{what}; {cure}")))
        }
        _ if errors.clone().count() == knocks.len() => Err(no_route(&mut errors)),
        _ => Ok(knocks),
    }
}

/// The client's own address, as the knock over this route may claim it.
fn own_address(
    gate: SocketAddr,
    route: io::Result<Route>,
    allow: &AllowSetting,
    seen: &mut impl Iterator<Item = io::Result<IpAddr>>,
) -> io::Result<(IpAddr, io::Result<Route>)> {
    match (route, allow) {
        (Ok(route), AllowSetting::Stun(_)) => {
            let seen = seen.next().unwrap_or(Err(io::ErrorKind::NotFound.into()));
            Ok((seen?, Ok(route)))
        }
        (Ok(route), _) => Ok((route.local(), Ok(route))),
        (Err(error), AllowSetting::Auto | AllowSetting::Both | AllowSetting::Stun(_)) => Err(error),
        // The other settings do not use the address, so the packet can still be printed.
        (Err(error), _) => Ok((gate.ip(), Err(error))),
    }
}

/// Whether the gate is in a network of the interface that has a private address. In doubt it is not.
fn is_near(own: IpAddr, gate: IpAddr) -> bool {
    let near = || Routes::open().ok()?.shares_network(own, gate).ok();
    !allow::is_public(own) && near().unwrap_or_default()
}

/// For each usable route, in their order, the address that STUN servers see. Asks over all routes at once.
fn public_addresses(
    servers: &StunServers,
    routes: &[(SocketAddr, io::Result<Route>)],
) -> Result<Vec<io::Result<IpAddr>>, ExitError> {
    let usable = routes.iter().filter_map(|(_, route)| route.as_ref().ok());
    thread::scope(|scope| {
        let asked: Vec<_> = usable
            .map(|route| scope.spawn(|| public_address::seen_by(servers, route.local())))
            .collect();
        let answers = asked.into_iter().map(|asked| match asked.join() {
            Ok(Ok(seen)) => Ok(Ok(seen)),
            Ok(Err(Unseen::Disagreement(what))) => {
                let cure = "name servers that you trust, or the address itself with --allow";
                Err(ExitError::new(UNAVAILABLE, format!("{what}; {cure}")))
            }
            Ok(Err(Unseen::NoAnswer(what))) => Ok(Err(io::Error::other(what))),
            Err(_) => Ok(Err(io::Error::other("the STUN question failed"))),
        });
        answers.collect()
    })
}

impl Destination {
    fn families(&self) -> Result<Families, ExitError> {
        match (self.spoofed_source, self.families) {
            (None, families) => Ok(families),
            (Some(source), families) if !families.contain(source) => {
                let cure = "leave out -4 and -6, or spoof another source";
                let what = format!("{source} is of the other family; {cure}");
                Err(ExitError::new(USAGE, what))
            }
            (Some(IpAddr::V4(_)), _) => Ok(Families::V4),
            (Some(IpAddr::V6(_)), _) => Ok(Families::V6),
        }
    }

    /// A spoofed source must not be the address to allow.
    fn check_allow(&self, allow: Allow) -> Result<(), ExitError> {
        match (self.spoofed_source, allow) {
            (Some(source), Allow::Source { .. }) => {
                let what = format!("the knock would allow its source {source}, which is spoofed");
                let cure = "name the address to allow with --allow ADDRESS";
                Err(ExitError::new(USAGE, format!("{what}; {cure}")))
            }
            _ => Ok(()),
        }
    }
}

/// Seals a request under a fresh nonce, in a body of random length, so that the length of the packet reveals nothing.
pub fn seal_at_random(keys: &UserKeys, request: &Request) -> Result<Sealed, ExitError> {
    let nonce = random::bytes().map_err(no_random_bytes)?;
    let shortest = request.encoded_len().max(limits::BODY_MIN);
    let length = random::between(shortest, limits::BODY_MAX).map_err(no_random_bytes)?;
    seal(keys, request, nonce, length).map_err(|error| {
        let what = format!("a knock cannot carry this: {error}; change the request");
        ExitError::new(USAGE, what)
    })
}

pub(super) fn allows_ipv4(allow: Allow, gate: IpAddr) -> bool {
    match allow {
        Allow::Source { .. } => gate.is_ipv4(),
        Allow::Network { address, prefix } => {
            let network = address::network_from_knock(address, prefix);
            network.is_some_and(|network| network.addr().is_ipv4())
        }
    }
}

pub(crate) fn send(knocks: Vec<PreparedKnock>) -> Result<Vec<SentKnock>, ExitError> {
    let send = |PreparedKnock { to, sealed }| {
        let (request, outcome) = match sealed {
            Ok(knock) => {
                let sent = knock
                    .route
                    .and_then(|route| route.send(knock.packet.as_bytes()));
                (Some(knock.request), sent)
            }
            Err(error) => (None, Err(error)),
        };
        SentKnock {
            to,
            request,
            outcome,
        }
    };
    let sent: Vec<SentKnock> = knocks.into_iter().map(send).collect();
    let errors = sent.iter();
    let mut errors = errors.filter_map(|sent| Some((sent.to, sent.outcome.as_ref().err()?)));
    if errors.clone().count() == sent.len() {
        Err(no_route(&mut errors))
    } else {
        Ok(sent)
    }
}

fn no_route(errors: &mut dyn Iterator<Item = (SocketAddr, &io::Error)>) -> ExitError {
    let (mut code, mut cure) = (UNAVAILABLE, "check this machine's network");
    let mut each = Vec::new();
    for (to, error) in errors {
        if error.kind() == io::ErrorKind::PermissionDenied {
            code = PERMISSION;
            cure = "check the address and the firewall of this machine";
        }
        each.push(format!("cannot reach {to}: {error}"));
    }
    ExitError::new(code, format!("{}; {cure}", each.join(", ")))
}
