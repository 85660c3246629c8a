//! Requests as text for people, with IPv4 addresses and prefixes in their own form.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use postern_proto::{Action, Allow, GateName, Item, Request};

use crate::client::{OpenPort, SentKnock};
use crate::model::address::{self, MAPPED};
use crate::model::service::{self, Ports, Wanted};
use crate::model::time::{self, Timestamp};

/// The most addresses of a gate in one sentence.
const NAMED_MAX: usize = 3;

/// Whether the knock goes over IPv4, if that is known.
pub(super) type OverIpv4 = Option<bool>;

pub(super) fn services(request: &Request) -> Vec<Wanted> {
    let wanted = |item: &Item| match item {
        Item::Service(service) => Some(Wanted::Ports(Ports::from(*service))),
        Item::Name(name) => Some(Wanted::Named(name.as_str().to_owned())),
        Item::Code(_) | Item::Skipped { .. } => None,
    };
    request.items.iter().filter_map(wanted).collect()
}

/// As in a profile: `source`, `source/24`, `192.0.2.7`, `2001:db8::/48`.
pub(super) fn allow(allow: Allow, over_ipv4: OverIpv4) -> String {
    match allow {
        Allow::Source { prefix: 128 } => "source".to_owned(),
        Allow::Source { prefix } => {
            let in_ipv4 = prefix.checked_sub(MAPPED);
            let in_ipv4 = in_ipv4.filter(|_| over_ipv4.unwrap_or(true));
            format!("source/{}", in_ipv4.unwrap_or(prefix))
        }
        Allow::Network { address, prefix } => match address::network_from_knock(address, prefix) {
            Some(network) if network.prefix_len() == network.max_prefix_len() => {
                network.addr().to_string()
            }
            Some(network) => network.to_string(),
            None => format!("{address}/{prefix}"),
        },
    }
}

pub(super) fn target(request: &Request) -> Option<String> {
    let target = request.target.map(address::from_knock);
    target.map(|target| target.to_string())
}

fn duration(request: &Request) -> String {
    match request.duration_s {
        0 => "as long as the gate grants".to_owned(),
        seconds => time::human(Duration::from_secs(seconds.into())),
    }
}

pub(super) fn sentence(gate: &GateName, to: SocketAddr, request: &Request) -> String {
    let allow = allow(request.allow, Some(to.is_ipv4()));
    let allow = match allow.strip_prefix("source") {
        Some("") => "the address it comes from".to_owned(),
        Some(prefix) => format!("the {prefix} network it comes from"),
        None => allow,
    };
    let mut services = service::list(&services(request));
    if services.is_empty() {
        services = "everything".to_owned();
    }
    if let Some(target) = target(request) {
        let _ = write!(services, " on {target}");
    }
    let to = address::place(to);
    match request.action {
        Action::Open => {
            let duration = duration(request);
            format!("knocked {gate} at {to} for {services}, letting in {allow} for {duration}")
        }
        Action::Close => format!("asked {gate} at {to} to close {services} for {allow}"),
    }
}

pub(super) fn opened(port: &OpenPort, sent: &[SentKnock]) -> String {
    let after = Duration::from_millis(time::millis(port.after).max(1));
    let after = format!("{} is open after {}", port.at, time::human(after));
    if sent.iter().any(|sent| sent.count > 1) {
        format!("{after}; {}", count(sent))
    } else {
        after
    }
}

/// How many knocks were sent, and to which addresses.
pub(super) fn count(sent: &[SentKnock]) -> String {
    let knocks: usize = sent.iter().map(|sent| sent.count).sum();
    let knocks = format!("sent {knocks} knock{}", if knocks == 1 { "" } else { "s" });
    let there = sent.iter().filter(|sent| sent.count > 0);
    let mut there: Vec<String> = there.map(|sent| address::place(sent.to)).collect();
    there.dedup();
    let more = there.len().saturating_sub(NAMED_MAX);
    if more > 0 {
        there.truncate(NAMED_MAX);
        there.push(format!("{more} more addresses"));
    }
    match there.split_last() {
        None => knocks,
        Some((only, [])) => format!("{knocks} to {only}"),
        Some((last, first)) => format!("{knocks} to {} and {last}", first.join(", ")),
    }
}

pub(super) fn listing(gate: &GateName, request: &Request, over_ipv4: OverIpv4) -> String {
    let is_open = request.action == Action::Open;
    let mut services = service::list(&services(request));
    if services.is_empty() {
        services = "all".to_owned();
    }
    let target = target(request).unwrap_or_else(|| "the gate itself".to_owned());
    let time = Timestamp::from_millis(request.timestamp_ms).to_string();
    let rows = [
        Some(("gate", gate.to_string())),
        Some(("action", if is_open { "open" } else { "close" }.to_owned())),
        Some(("services", services)),
        Some(("target", target)),
        Some(("allow", allow(request.allow, over_ipv4))),
        is_open.then(|| ("duration", duration(request))),
        Some(("time", time)),
        request.code().map(|_| ("code", "(not shown)".to_owned())),
    ];
    let mut text = String::new();
    for (name, value) in rows.into_iter().flatten() {
        let _ = writeln!(text, "  {name:<9} {value}");
    }
    text
}
