//! Requests in words, for people.
//!
//! Says an IPv4 address as such and a prefix in its own family; the wire's forms stay out of sight.

use std::fmt::Write;
use std::time::Duration;

use postern_proto::{Action, Allow, GateName, Item, Request};

use crate::client::ServiceOpen;
use crate::model::address::{self, MAPPED};
use crate::model::service::{self, Ports, Wanted};
use crate::model::time::{self, Timestamp};

/// Whether the knock goes over IPv4, where that is known.
pub(super) type OverIpv4 = Option<bool>;

/// `tcp/22, web`, or nothing.
pub(super) fn services(request: &Request) -> Vec<Wanted> {
    let wanted = |item: &Item| match item {
        Item::Service(service) => Some(Wanted::Ports(Ports::from(*service))),
        Item::Name(name) => Some(Wanted::Named(name.as_str().to_owned())),
        Item::Code(_) | Item::Skipped { .. } => None,
    };
    request.items.iter().filter_map(wanted).collect()
}

/// As `allow` in a profile would say it: `source`, `source/24`, `192.0.2.7`, `2001:db8::/48`.
pub(super) fn allow(allow: Allow, over_ipv4: OverIpv4) -> String {
    match allow {
        Allow::Source { prefix: 128 } => "source".to_owned(),
        Allow::Source { prefix } => {
            let in_ipv4 = prefix
                .checked_sub(MAPPED)
                .filter(|_| over_ipv4.unwrap_or(true));
            format!("source/{}", in_ipv4.unwrap_or(prefix))
        }
        Allow::Network { address, prefix } => match address::network_from_wire(address, prefix) {
            Some(network) if network.prefix_len() == network.max_prefix_len() => {
                network.addr().to_string()
            }
            Some(network) => network.to_string(),
            None => format!("{address}/{prefix}"),
        },
    }
}

pub(super) fn target(request: &Request) -> Option<String> {
    request
        .target
        .map(|target| address::from_wire(target).to_string())
}

pub(super) fn duration(request: &Request) -> Option<Duration> {
    (request.duration_s != 0).then(|| Duration::from_secs(request.duration_s.into()))
}

/// One line: what a knock that is on its way asks for.
pub(super) fn sentence(gate: &GateName, to: std::net::SocketAddr, request: &Request) -> String {
    let allow = match allow(request.allow, Some(to.is_ipv4())).strip_prefix("source") {
        Some("") => "the address it comes from".to_owned(),
        Some(prefix) => format!("the {prefix} network it comes from"),
        None => self::allow(request.allow, Some(to.is_ipv4())),
    };
    let services = service::list(&services(request));
    let on = target(request)
        .map(|target| format!(" on {target}"))
        .unwrap_or_default();
    match (request.action, services.is_empty()) {
        (Action::Open, _) => {
            let length =
                duration(request).map_or("as long as the gate grants".to_owned(), time::human);
            format!("knocked {gate} at {to} for {services}{on}, letting in {allow} for {length}")
        }
        (Action::Close, false) => {
            format!("asked {gate} at {to} to close {services}{on} for {allow}")
        }
        (Action::Close, true) => {
            format!("asked {gate} at {to} to close everything{on} for {allow}")
        }
    }
}

/// One line: a door that opened.
pub(super) fn opened(opening: &ServiceOpen) -> String {
    let after = Duration::from_millis(time::millis(opening.after).max(1));
    format!("{} is open after {}", opening.at, time::human(after))
}

/// All that a request says, a line each.
pub(super) fn listing(gate: &GateName, request: &Request, over_ipv4: OverIpv4) -> String {
    let action = match request.action {
        Action::Open => "open",
        Action::Close => "close",
    };
    let services = match service::list(&services(request)) {
        none if none.is_empty() => "all".to_owned(),
        services => services,
    };
    let mut rows = vec![
        ("gate", gate.to_string()),
        ("action", action.to_owned()),
        ("services", services),
        (
            "target",
            target(request).unwrap_or_else(|| "the gate itself".to_owned()),
        ),
        ("allow", allow(request.allow, over_ipv4)),
        (
            "time",
            Timestamp::from_millis(request.timestamp_ms).to_string(),
        ),
    ];
    if request.action == Action::Open {
        rows.insert(
            5,
            (
                "duration",
                duration(request).map_or("as long as the gate grants".to_owned(), time::human),
            ),
        );
    }
    if request.code().is_some() {
        rows.push(("code", "(not shown)".to_owned()));
    }
    rows.into_iter()
        .fold(String::new(), |mut text, (name, value)| {
            let _ = writeln!(text, "  {name:<9} {value}");
            text
        })
}
