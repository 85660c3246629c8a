//! From the request on the wire to terms: whose address is meant, for how long, and how a log says it.
//!
//! PROTOCOL section 5, the rows for allow address, duration and target. Decides no policy.

use std::net::IpAddr;

use ipnet::IpNet;
use postern_proto::{Action, Allow, Item, Request};

use crate::model::address;
use crate::model::policy::Policy;
use crate::model::reason::Rule;
use crate::model::request::{AddressFrom, CloseRequest, OpenRequest};
use crate::model::service::{self, Ports, Wanted};

/// What an `open` asks for.
pub(super) fn terms(
    request: &Request,
    source: IpAddr,
    user: &str,
    policy: &Policy,
) -> Result<OpenRequest, Rule> {
    let (allow, from) = allow(request, source)?;
    Ok(OpenRequest {
        user: user.to_owned(),
        allow,
        from,
        target: request.target.map(address::from_wire),
        services: wanted(request),
        duration: policy.clip(request.duration_s),
    })
}

/// What a `close` asks for.
pub(super) fn closing(request: &Request, source: IpAddr, user: &str) -> Result<CloseRequest, Rule> {
    let (allow, _) = allow(request, source)?;
    Ok(CloseRequest {
        user: user.to_owned(),
        allow,
        target: request.target.map(address::from_wire),
        services: wanted(request),
    })
}

/// What was asked, for the log; also where it could not be settled.
pub(super) fn asked(request: &Request, source: IpAddr) -> String {
    let action = match request.action {
        Action::Open => "open",
        Action::Close => "close",
    };
    let address = match (allow(request, source), request.allow) {
        (Ok((network, AddressFrom::Claimed)), _) => network.to_string(),
        (Ok((network, AddressFrom::Observed)), _) => format!("{network} (source)"),
        (Err(_), Allow::Source { prefix } | Allow::Network { prefix, .. }) => {
            format!("{source} widened to /{prefix}")
        }
    };
    let target = request
        .target
        .map(|target| format!(" at {}", address::from_wire(target)))
        .unwrap_or_default();
    format!(
        "{action} {}{target} for {address}",
        service::list(&wanted(request))
    )
}

/// Whom to let in, and where that address came from.
pub(super) fn allow(request: &Request, source: IpAddr) -> Result<(IpNet, AddressFrom), Rule> {
    match request.allow {
        Allow::Source { prefix } => {
            address::widen(source, prefix).map(|network| (network, AddressFrom::Observed))
        }
        Allow::Network { address, prefix } => address::network_from_wire(address, prefix)
            .map(|network| (network, AddressFrom::Claimed)),
    }
    .ok_or(Rule::Prefix)
}

/// The services, as they were asked for.
pub(super) fn wanted(request: &Request) -> Vec<Wanted> {
    let wanted = request.items.iter().filter_map(|item| match item {
        Item::Service(service) => Some(Wanted::Ports(Ports::from(*service))),
        Item::Name(name) => Some(Wanted::Named(name.as_str().to_owned())),
        Item::Code(_) | Item::Skipped { .. } => None,
    });
    wanted.collect()
}
