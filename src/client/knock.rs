//! From a request to sealed packets, one for each address of the gate, and onto the network
//! (`proto/README.md`, sections 4 and 5).
//!
//! One address that cannot be reached is no failure while another can.

use std::io;
use std::net::{IpAddr, SocketAddr};

use postern_proto::{Allow, Item, Request};

use super::KnockRequest;
use super::allow;
use super::names::{ADDRESSES_MAX, Names};
use super::own_address::OwnAddresses;
use super::request::Targets;
use super::resolve::{self, Families};
use super::route::{Route, UNKNOWN_PATH};
use super::secrets::{Outgoing, Secrets};
use super::spoof::SpoofedSender;
use super::wake::{Alarm, no_alarm};
use crate::adapters::clock;
use crate::client::profile::{Endpoint, Host};
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
    pub(crate) outgoing: Outgoing,
    route: io::Result<Route>,
}

/// What went to one address of the gate.
#[derive(Debug)]
pub(crate) struct SentKnock {
    pub(crate) to: SocketAddr,
    /// Its content; `None` if it could not be made.
    pub(crate) request: Option<Request>,
    pub(crate) outcome: io::Result<()>,
    /// How many knocks went there.
    pub(crate) count: usize,
}

impl SentKnock {
    /// Whether it went to the same address and asked for the same.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let allow = |knock: &Self| knock.request.as_ref().map(|request| request.allow);
        self.to == other.to && allow(self) == allow(other)
    }
}

/// Resolves the gate and makes a knock for each of its addresses. Sends only DNS and STUN questions.
pub(crate) fn prepare(
    asked: &KnockRequest,
    destination: &Destination,
    secrets: &Secrets,
) -> Result<Vec<PreparedKnock>, ExitError> {
    let hosts = destination.hosts().chain(asked.target.clone());
    let mut names = Names::new(hosts, Alarm::new().map_err(no_alarm)?.waker());
    names.ask();
    let mut own = OwnAddresses::new(&destination.addresses);
    while names.is_pending() {
        names.wait();
    }
    let families = destination.families()?;
    let gates = destination.known(&names, families);
    let targets = asked.targets(&names)?;
    if gates.is_empty() {
        return Err(destination.unresolved(&names, families, None));
    }
    let items = asked.items()?;
    let knocks = make(
        asked,
        items,
        destination,
        secrets,
        &gates,
        &targets,
        &mut own,
    )?;
    let errors = knocks.iter();
    let mut errors = errors.filter_map(|knock| Some((knock.to, knock.sealed.as_ref().err()?)));
    if errors.clone().count() == knocks.len() {
        return Err(no_route(&mut errors));
    }
    Ok(knocks)
}

/// Makes a knock for each of these addresses, all of one time.
pub(super) fn make(
    asked: &KnockRequest,
    items: Vec<Item>,
    destination: &Destination,
    secrets: &Secrets,
    gates: &[SocketAddr],
    targets: &Targets,
    own: &mut OwnAddresses,
) -> Result<Vec<PreparedKnock>, ExitError> {
    let mut routes = Vec::new();
    for gate in gates {
        let spoofed = destination.spoofed_source.map(SpoofedSender::new);
        routes.push((*gate, Route::to(*gate, spoofed.transpose()?)));
    }
    own.ask(&asked.allow, &routes)?;
    let has_code = items.iter().any(|item| matches!(item, Item::Code(_)));
    let now = asked.time_offset.applied_to(clock::wall());
    let mut knocks = Vec::new();
    for (to, route) in routes {
        let (way, route) = match own.way(to, route, &asked.allow) {
            Ok(way) => way,
            Err(error) => {
                let sealed = Err(error);
                knocks.push(PreparedKnock { to, sealed });
                continue;
            }
        };
        let mut route = Some(route);
        for allow in allow::claims(&asked.allow, asked.grant_to, &way, has_code) {
            destination.check_allow(allow)?;
            let in_ipv4 = allows_ipv4(allow, to.ip());
            // A packet filter matches client and target in one rule, so both are of one family.
            let target = match targets {
                Targets::Gate => None,
                Targets::Hosts(hosts) => {
                    match hosts.iter().find(|host| host.is_ipv4() == in_ipv4) {
                        None => continue,
                        Some(host) => Some(address::to_knock(host.ip())),
                    }
                }
            };
            let request = Request {
                action: asked.action,
                allow,
                timestamp_ms: now.as_millis(),
                duration_s: asked.seconds(),
                target,
                items: items.clone(),
            };
            let route = route.take().unwrap_or_else(|| Route::to(to, None));
            let longest = route.as_ref().map_or(UNKNOWN_PATH, Route::longest);
            let outgoing = secrets.encode(&request, longest)?;
            let sealed = Ok(SealedKnock {
                request,
                outgoing,
                route,
            });
            knocks.push(PreparedKnock { to, sealed });
        }
    }
    match &asked.target {
        Some(target) if knocks.is_empty() => {
            let what = format!("the target {target} has no address of the family to allow");
            let cure = "name a target of the same family, or choose the family with -4 or -6";
            Err(ExitError::new(NO_HOST, format!("{what}; {cure}")))
        }
        _ => Ok(knocks),
    }
}

impl Destination {
    /// The hosts of the gate, to look up.
    pub(super) fn hosts(&self) -> impl Iterator<Item = Host> {
        self.addresses.iter().map(|endpoint| endpoint.host.clone())
    }

    /// The addresses of the gate that are known, in the order in which to use them.
    pub(super) fn known(&self, names: &Names, families: Families) -> Vec<SocketAddr> {
        let each = self.addresses.iter();
        let all = each.flat_map(|endpoint| names.addresses(&endpoint.host, endpoint.port));
        let mut usable = resolve::in_turns(all.filter(|at| families.contain(at.ip())).collect());
        usable.truncate(ADDRESSES_MAX);
        usable
    }

    /// Why no address of the gate or of this target is known.
    pub(super) fn unresolved(
        &self,
        names: &Names,
        families: Families,
        target: Option<&Host>,
    ) -> ExitError {
        if let Some(host) = names.pending() {
            return resolve::no_answer(host);
        }
        let mut hosts = self.hosts().chain(target.cloned());
        let failure = hosts.find_map(|host| names.failure(&host).cloned());
        let hosts: Vec<&str> = self.addresses.iter().map(|at| at.host.as_str()).collect();
        let none = || resolve::no_address(&hosts.join(", "), families);
        failure.map_or_else(none, ExitError::from)
    }

    pub(super) fn families(&self) -> Result<Families, ExitError> {
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

pub(super) fn allows_ipv4(allow: Allow, gate: IpAddr) -> bool {
    match allow {
        Allow::Source { .. } => gate.is_ipv4(),
        Allow::Network { address, prefix } => {
            let network = address::network_from_knock(address, prefix);
            network.is_some_and(|network| network.addr().is_ipv4())
        }
    }
}

/// Sends each knock. A failure is in its outcome.
pub(super) fn send(knocks: Vec<PreparedKnock>) -> Vec<SentKnock> {
    let send = |PreparedKnock { to, sealed }| {
        let (request, outcome) = match sealed {
            Ok(knock) => {
                let sent = knock.route.and_then(|route| knock.outgoing.send(&route));
                (Some(knock.request), sent)
            }
            Err(error) => (None, Err(error)),
        };
        SentKnock {
            to,
            count: usize::from(outcome.is_ok()),
            request,
            outcome,
        }
    };
    knocks.into_iter().map(send).collect()
}

/// The error if nothing was sent.
pub(super) fn unsent(sent: &[SentKnock]) -> Option<ExitError> {
    let errors = sent.iter();
    let mut errors = errors.filter_map(|sent| Some((sent.to, sent.outcome.as_ref().err()?)));
    (errors.clone().count() == sent.len()).then(|| no_route(&mut errors))
}

fn no_route(errors: &mut dyn Iterator<Item = (SocketAddr, &io::Error)>) -> ExitError {
    let (mut code, mut cure) = (UNAVAILABLE, "check this machine's network");
    let mut each = Vec::new();
    for (to, error) in errors {
        if error.kind() == io::ErrorKind::PermissionDenied {
            code = PERMISSION;
            cure = "check the address and the firewall of this machine";
        }
        each.push(format!("cannot reach {}: {error}", address::place(to)));
    }
    ExitError::new(code, format!("{}; {cure}", each.join(", ")))
}
