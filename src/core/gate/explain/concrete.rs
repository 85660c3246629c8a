//! A rule of the policy that said no, with the values on both sides: what the knock asks for and what the user may have.
//!
//! Decides nothing: the policy has decided, and its own check is asked once more for each service by itself.

use std::net::IpAddr;

use postern_proto::{Action, Allow, Request};

use super::super::users::Knocker;
use super::super::{Gate, settle};
use crate::model::address::{self, MAPPED};
use crate::model::catalog::forward_of;
use crate::model::policy::GrantTo;
use crate::model::reason::{CodeFault, Rule};
use crate::model::request::OpenRequest;
use crate::model::service::{self, Wanted};
use crate::model::time::{self, Timestamp};

const NOT_ITS_SOURCE: &str = "it asks for its source, and only an address that the knock itself names is let in; \
     set allow = \"auto\" or an address in the client's profile";
const NOT_WHAT_IT_NAMES: &str = "and only the address that it comes from is let in; set allow = \"source\" in the client's profile";

/// Where a packet came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    pub(super) address: IpAddr,
    /// False where nobody knows, and the address stands in for it.
    pub(super) known: bool,
}

/// What a knock asks for: `open tcp/22 for 192.0.2.7/32 (source)`.
pub(super) fn asked(request: &Request, from: Option<IpAddr>) -> String {
    if let Some(source) = from {
        return settle::asked(request, source);
    }
    let action = match request.action {
        Action::Open => "open",
        Action::Close => "close",
    };
    let services = service::list(&settle::wanted(request));
    let services = if services.is_empty() {
        "everything".to_owned()
    } else {
        services
    };
    let target = request
        .target
        .map(|target| format!(" at {}", address::from_wire(target)))
        .unwrap_or_default();
    format!(
        "{action} {services}{target} for {}",
        whom(
            request,
            Origin {
                address: super::NOWHERE,
                known: false
            }
        )
    )
}

/// Whom to let in.
fn whom(request: &Request, from: Origin) -> String {
    match (request.allow, settle::allow(request, from.address)) {
        (Allow::Source { prefix: 128 }, _) if !from.known => "its source address".to_owned(),
        (Allow::Source { prefix }, _) if !from.known => format!(
            "its source widened to /{}",
            prefix.checked_sub(MAPPED).unwrap_or(prefix)
        ),
        (_, Ok((network, _))) => network.to_string(),
        (Allow::Source { prefix } | Allow::Network { prefix, .. }, Err(_)) => {
            format!("{} widened to /{prefix} of IPv6", from.address)
        }
    }
}

/// Why this rule said no.
pub(super) fn why(
    rule: Rule,
    request: &Request,
    from: Origin,
    knocker: &Knocker<'_>,
    gate: &Gate,
    at: Timestamp,
) -> String {
    let (user, policy) = (knocker.name, knocker.policy);
    let whom = whom(request, from);
    let terms = settle::terms(request, from.address, user, policy).ok();
    match rule {
        Rule::Networks
            if terms
                .as_ref()
                .is_some_and(|terms| address::is_nobody(terms.allow.addr())) =>
        {
            format!("{whom} can be nobody's address; knock for one's own")
        }
        Rule::Networks => {
            let networks = service::list(&policy.networks);
            format!(
                "{whom} is not in {networks}; knock from there, or add it to networks of {user}"
            )
        }
        Rule::Prefix => {
            let widest = format!(
                "/{} for IPv4 and /{} for IPv6",
                policy.max_prefix.v4, policy.max_prefix.v6
            );
            format!(
                "it asks for {whom}, and at most {widest} is allowed; ask for less, or change max_prefix of {user}"
            )
        }
        Rule::GrantTo => match policy.grant_to {
            GrantTo::Claimed => NOT_ITS_SOURCE.to_owned(),
            GrantTo::Observed | GrantTo::Either => format!("it names {whom}, {NOT_WHAT_IT_NAMES}"),
        },
        Rule::Target => target(request, knocker, gate),
        Rule::Family => format!(
            "{whom} cannot reach {}; knock over the other family",
            hosts(request, knocker, gate)
        ),
        Rule::Service => {
            let missing = terms
                .as_ref()
                .map(|terms| missing(terms, knocker, gate))
                .unwrap_or_default();
            let have = service::list(&policy.services);
            format!("{missing} is not in {have}; ask for less, or add it to services of {user}")
        }
        Rule::UnknownService => {
            let unknown = |wanted: &&Wanted| matches!(wanted, Wanted::Named(name) if !gate.named.contains_key(name));
            let wanted = settle::wanted(request);
            let unknown: Vec<&Wanted> = wanted
                .iter()
                .chain(&policy.services)
                .filter(unknown)
                .collect();
            let known: Vec<&String> = gate.named.keys().collect();
            let known = if known.is_empty() {
                "none".to_owned()
            } else {
                service::list(&known)
            };
            let unknown = service::list(&unknown);
            format!(
                "{unknown} is not defined here, defined are: {known}; mind the spelling, or add a section [service.{unknown}]"
            )
        }
        Rule::Code(fault) => code(fault, user),
        Rule::Quota => {
            let spent = knocker.meter.spent(user, policy.quota, at);
            let room = spent
                .map(|spent| {
                    format!(
                        ", there is room again in {}",
                        time::human(spent.room.since(at))
                    )
                })
                .unwrap_or_default();
            format!(
                "{} are all used up{room}; wait, or change quota of {user}",
                policy.quota
            )
        }
        Rule::Duration | Rule::User | Rule::Store | Rule::Firewall => rule.sentence().to_owned(),
    }
}

/// What is wrong with a one-time code; never a digit of it.
fn code(fault: CodeFault, user: &str) -> String {
    match fault {
        CodeFault::Missing => format!("{user} must send one with each knock that opens; set code = \"ask\" or a code_command in the client's profile"),
        CodeFault::Wrong => "it is that of no moment from 30s before this one to 30s after; mind the authenticator's clock, and that it has this user's secret".to_owned(),
        CodeFault::Used => "each counts once for IPv4 and once for IPv6; wait for the next one".to_owned(),
        CodeFault::Blocked => "five wrong ones came, and one is forgiven each minute; wait, and change the key if nobody mistyped".to_owned(),
    }
}

/// What the knock gets that is not quite what it asked for.
pub(super) fn clipped(request: &Request, knocker: &Knocker<'_>) -> Option<String> {
    let (asked, most) = (u64::from(request.duration_s), knocker.policy.max_duration);
    let asked = std::time::Duration::from_secs(asked);
    let is_clipped = request.action == Action::Open && asked > most;
    is_clipped.then(|| {
        format!(
            "it asked for {}, max_duration is {}",
            time::human(asked),
            time::human(most)
        )
    })
}

fn target(request: &Request, knocker: &Knocker<'_>, gate: &Gate) -> String {
    let target = request
        .target
        .map(|target| address::from_wire(target).to_string())
        .unwrap_or_default();
    let (targets, user) = (&knocker.policy.targets, knocker.name);
    let listed = request.target.is_some_and(|target| {
        targets
            .iter()
            .any(|network| network.contains(&address::from_wire(target)))
    });
    if listed {
        let forwards: Vec<Wanted> = settle::wanted(request)
            .into_iter()
            .filter(|one| forward_of(one, &gate.options).is_some())
            .collect();
        let forwards = service::list(&forwards);
        return format!(
            "{forwards} leads to a host by itself, and the knock names {target} as well; leave the target out"
        );
    }
    let have = if targets.is_empty() {
        "the gate itself alone".to_owned()
    } else {
        service::list(targets)
    };
    format!(
        "it wants {target}, and {user} may reach {have}; leave the target out, or add it to targets of {user}"
    )
}

/// The hosts that the knock would lead to.
fn hosts(request: &Request, knocker: &Knocker<'_>, gate: &Gate) -> String {
    let target = request.target.map(address::from_wire);
    let wanted = settle::wanted(request);
    let forwards = wanted
        .iter()
        .filter(|one| knocker.policy.services.contains(one))
        .filter_map(|one| forward_of(one, &gate.options));
    service::list(
        &target
            .into_iter()
            .chain(forwards.map(|forward| forward.host))
            .collect::<Vec<_>>(),
    )
}

/// The services that the policy does not have.
fn missing(terms: &OpenRequest, knocker: &Knocker<'_>, gate: &Gate) -> String {
    let alone = |one: &Wanted| OpenRequest {
        services: vec![one.clone()],
        target: None,
        ..terms.clone()
    };
    let refused = |one: &&Wanted| {
        knocker
            .policy
            .check(&alone(one), &gate.named, &gate.options)
            == Err(Rule::Service)
    };
    service::list(&terms.services.iter().filter(refused).collect::<Vec<_>>())
}
