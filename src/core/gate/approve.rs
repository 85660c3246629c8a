//! From the request in a packet to the request that the policy approves. proto/README.md section 6, step 9.
//!
//! Settles the allow address, the target and the duration (section 5), then asks the policy.

use std::net::IpAddr;

use ipnet::IpNet;
use postern_proto::{Action, Allow, Item, Request};

use super::decision::ApprovedRequest;
use crate::model::address;
use crate::model::catalog::Catalog;
use crate::model::policy::Policy;
use crate::model::reason::Rule;
use crate::model::request::{AddressFrom, CloseRequest, OpenRequest};
use crate::model::service::{self, Ports, Wanted};
use crate::model::time::Timestamp;

/// What the request may do by the policy alone, without code and quota, or the rule that refuses it.
pub fn approve(
    now: Timestamp,
    request: &Request,
    source: IpAddr,
    policy: &Policy,
    catalog: &Catalog,
) -> Result<ApprovedRequest, Rule> {
    policy.check_knock(source, now)?;
    match request.action {
        Action::Open => {
            let open = open_request(now, request, source, policy)?;
            policy.check(&open, catalog)?;
            Ok(ApprovedRequest::Open(open))
        }
        Action::Close => Ok(ApprovedRequest::Close(CloseRequest {
            user: policy.user.to_string(),
            allow: allow(request, source)?.0,
            target: request.target.map(address::from_knock),
            services: wanted(request),
        })),
    }
}

/// What an `open` asks for, before the policy is asked. [`Rule::Prefix`] if the source cannot be widened as the request wants.
pub fn open_request(
    now: Timestamp,
    request: &Request,
    source: IpAddr,
    policy: &Policy,
) -> Result<OpenRequest, Rule> {
    let (allow, from) = allow(request, source)?;
    Ok(OpenRequest {
        user: policy.user.to_string(),
        allow,
        from,
        target: request.target.map(address::from_knock),
        services: wanted(request),
        duration: policy.clip(request.duration_s, now),
    })
}

/// The request in words for the log, even if the address could not be settled.
pub fn asked(request: &Request, source: IpAddr) -> String {
    let action = match request.action {
        Action::Open => "open",
        Action::Close => "close",
    };
    let address = match (allow(request, source), request.allow) {
        (Ok((network, AddressFrom::Claimed | AddressFrom::Same)), _) => network.to_string(),
        (Ok((network, AddressFrom::Observed)), _) => format!("{network} (source)"),
        (Err(_), Allow::Source { prefix } | Allow::Network { prefix, .. }) => {
            format!("{source} widened to /{prefix}")
        }
    };
    let target = request
        .target
        .map(|target| format!(" at {}", address::from_knock(target)))
        .unwrap_or_default();
    format!(
        "{action} {}{target} for {address}",
        service::list(&wanted(request))
    )
}

/// The allow address, and where it came from. [`Rule::Prefix`] if the source cannot be widened as the request wants.
pub fn allow(request: &Request, source: IpAddr) -> Result<(IpNet, AddressFrom), Rule> {
    match request.allow {
        Allow::Source { prefix } => {
            address::widen(source, prefix).map(|network| (network, AddressFrom::Observed))
        }
        Allow::Network { address, prefix } => {
            address::network_from_knock(address, prefix).map(|network| {
                let is_same = network.contains(&source.to_canonical());
                let from = if is_same {
                    AddressFrom::Same
                } else {
                    AddressFrom::Claimed
                };
                (network, from)
            })
        }
    }
    .ok_or(Rule::Prefix)
}

/// The services that the request names.
pub fn wanted(request: &Request) -> Vec<Wanted> {
    let wanted = request.items.iter().filter_map(|item| match item {
        Item::Service(service) => Some(Wanted::Ports(Ports::from(*service))),
        Item::Name(name) => Some(Wanted::Named(name.as_str().to_owned())),
        Item::Code(_) | Item::Skipped { .. } => None,
    });
    wanted.collect()
}
