//! Why a rule of the policy refuses a knock: what the knock asks for, what the user may have, and the cure.
//!
//! Decides nothing: the policy has decided. For each single service its check is asked once more.

use std::net::IpAddr;
use std::time::Duration;

use postern_proto::{Action, Allow, Request};

use crate::core::gate::{QuotaLeft, approve};
use crate::model::address::{self, MAPPED};
use crate::model::catalog::forward_of;
use crate::model::policy::{GrantTo, Policy};
use crate::model::reason::{CodeFault, Rule};
use crate::model::request::OpenRequest;
use crate::model::service::{self, Wanted};
use crate::model::settings::Settings;
use crate::model::time::{self, Timestamp};

const NOT_ITS_SOURCE: &str = "it asks for its source, and only an address that the knock itself names is let in; \
     set allow = \"auto\" or an address in the client's profile";
const NOT_FROM_THERE: &str = "and comes from another address; correct allow in the client's profile. \
     If it is stun, the server's answer or the knock may have been forged";
const NOT_WHAT_IT_NAMES: &str = "and only the address that it comes from is let in; set allow = \"source\" in the client's profile";

#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) request: &'a Request,
    pub(super) source: IpAddr,
    /// False if `source` only replaces an unknown address.
    pub(super) source_known: bool,
    pub(super) at: Timestamp,
    pub(super) policy: &'a Policy,
    pub(super) settings: &'a Settings,
}

/// The request in words: `open tcp/22 for 192.0.2.7/32 (source)`.
pub(super) fn asked(request: &Request, source: Option<IpAddr>) -> String {
    if let Some(source) = source {
        return approve::asked(request, source);
    }
    let action = match request.action {
        Action::Open => "open",
        Action::Close => "close",
    };
    let services = list_or(&approve::wanted(request), "everything");
    let target = request.target.map(address::from_knock);
    let target = target
        .map(|target| format!(" at {target}"))
        .unwrap_or_default();
    format!("{action} {services}{target} for {}", allow(request, None))
}

fn allow(request: &Request, source: Option<IpAddr>) -> String {
    let any = IpAddr::from([0, 0, 0, 0]);
    match (request.allow, source) {
        (Allow::Source { prefix: 128 }, None) => "its source address".to_owned(),
        (Allow::Source { prefix }, None) => {
            let prefix = prefix.checked_sub(MAPPED).unwrap_or(prefix);
            format!("its source widened to /{prefix}")
        }
        (Allow::Source { prefix } | Allow::Network { prefix, .. }, source) => {
            let source = source.unwrap_or(any);
            match approve::allow(request, source) {
                Ok((network, _)) => network.to_string(),
                Err(_) => format!("{source} widened to /{prefix} of IPv6"),
            }
        }
    }
}

pub(super) fn clipped(at: Timestamp, request: &Request, policy: &Policy) -> Option<String> {
    let opens = request.action == Action::Open;
    clipped_to(at, request.duration_s, policy).filter(|_| opens)
}

pub(super) fn clipped_to(at: Timestamp, seconds: u32, policy: &Policy) -> Option<String> {
    let asked = Duration::from_secs(u64::from(seconds));
    let most = policy.max_duration;
    let wanted = if asked.is_zero() {
        policy.duration
    } else {
        asked
    };
    let end = policy
        .expires
        .filter(|end| *end < at.plus(wanted.min(most)));
    let longer = (asked > most).then(|| {
        let (asked, most) = (time::human(asked), time::human(most));
        format!("it asked for {asked}, max_duration is {most}")
    });
    let end = end.map(|end| format!("{} expires at {end}", policy.user));
    let parts: Vec<String> = longer.into_iter().chain(end).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

pub(super) fn quota(policy: &Policy, spent: Option<&QuotaLeft>, at: Timestamp) -> String {
    let room = spent.map(|spent| time::human(spent.room.since(at)));
    let room = room.map(|length| format!(", the next knock is admitted in {length}"));
    let (room, quota, user) = (room.unwrap_or_default(), policy.quota, &policy.user);
    format!("{quota} are all used up{room}; wait, or change quota of {user}")
}

/// Why a user may not knock at all, from this source or at this time.
pub(super) fn who_and_when(rule: Rule, policy: &Policy, source: IpAddr) -> String {
    let user = &policy.user;
    if rule == Rule::Expired {
        let expired = policy.expires.unwrap_or_default();
        return format!("{user} expired at {expired}; change expires of {user}");
    }
    let (source, from) = (source.to_canonical(), service::list(&policy.from));
    let cure = format!("knock from there, or add it to from of {user}");
    format!("it comes from {source}, which is not in {from}; {cure}")
}

impl Asked<'_> {
    /// Why this rule, which is not the quota, refuses the knock.
    pub(super) fn why(self, rule: Rule) -> String {
        let (policy, user) = (self.policy, &self.policy.user);
        let allow = allow(self.request, self.source_known.then_some(self.source));
        let open = approve::open_request(self.at, self.request, self.source, policy).ok();
        let no_host = |open: &OpenRequest| address::is_no_host(open.allow.addr());
        match rule {
            Rule::Expired | Rule::From => who_and_when(rule, policy, self.source),
            Rule::Networks if open.as_ref().is_some_and(no_host) => {
                format!("{allow} is not a host's address; knock for your own")
            }
            Rule::Networks => {
                let networks = service::list(&policy.networks);
                let cure = format!("knock from there, or add it to networks of {user}");
                format!("{allow} is not in {networks}; {cure}")
            }
            Rule::Prefix => {
                let (v4, v6) = (policy.max_prefix.v4, policy.max_prefix.v6);
                let most = format!("at most /{v4} for IPv4 and /{v6} for IPv6 is allowed");
                let cure = format!("ask for less, or change max_prefix of {user}");
                format!("it asks for {allow}, and {most}; {cure}")
            }
            Rule::GrantTo => match policy.grant_to {
                GrantTo::Same if matches!(self.request.allow, Allow::Network { .. }) => {
                    format!("it names {allow}, {NOT_FROM_THERE}")
                }
                GrantTo::Claimed | GrantTo::Same => NOT_ITS_SOURCE.to_owned(),
                GrantTo::Observed | GrantTo::Either => {
                    format!("it names {allow}, {NOT_WHAT_IT_NAMES}")
                }
            },
            Rule::Target => self.target(),
            Rule::Family => {
                let hosts = self.hosts();
                format!("{allow} cannot reach {hosts}; knock over the other family")
            }
            Rule::Service => {
                let missing = open.map(|open| self.missing(&open)).unwrap_or_default();
                let services = service::list(&policy.services);
                let cure = format!("ask for less, or add it to services of {user}");
                format!("{missing} is not in {services}; {cure}")
            }
            Rule::UnknownService => self.unknown_services(),
            Rule::Code(fault) => code(fault, user),
            Rule::Nat
            | Rule::Command
            | Rule::Username
            | Rule::Destination
            | Rule::Quota
            | Rule::Duration
            | Rule::User
            | Rule::MaxGrants
            | Rule::Store
            | Rule::UsedSequences
            | Rule::Coordinator
            | Rule::Firewall => rule.sentence().to_owned(),
        }
    }

    fn unknown_services(self) -> String {
        let catalog = &self.settings.catalog;
        let wanted = approve::wanted(self.request);
        let unknown =
            |wanted: &&Wanted| matches!(wanted, Wanted::Named(name) if !catalog.contains_key(name));
        let all = wanted.iter().chain(&self.policy.services);
        let unknown = service::list(&all.filter(unknown).collect::<Vec<_>>());
        let known = list_or(&catalog.keys().collect::<Vec<_>>(), "none");
        format!(
            "{unknown} is not defined here, defined are: {known}; check the spelling, or add a section [service.{unknown}]"
        )
    }

    fn target(self) -> String {
        let target = self.request.target.map(address::from_knock);
        let said = target.map(|target| target.to_string()).unwrap_or_default();
        let (targets, user) = (&self.policy.targets, &self.policy.user);
        let is_listed =
            target.is_some_and(|target| targets.iter().any(|network| network.contains(&target)));
        if is_listed {
            let mut forwards = approve::wanted(self.request);
            forwards.retain(|one| forward_of(one, &self.settings.catalog).is_some());
            let forwards = service::list(&forwards);
            let cure = "leave the target out";
            return format!(
                "{forwards} already leads elsewhere, and the knock also names {said}; {cure}"
            );
        }
        let have = list_or(targets, "the gate itself alone");
        format!(
            "it wants {said}, and {user} may reach {have}; leave the target out, or add it to targets of {user}"
        )
    }

    fn hosts(self) -> String {
        let wanted = approve::wanted(self.request);
        let allowed = wanted
            .iter()
            .filter(|one| self.policy.services.contains(one));
        let forwards = allowed.filter_map(|one| forward_of(one, &self.settings.catalog));
        let mut hosts: Vec<IpAddr> = forwards.filter_map(|forward| forward.host).collect();
        hosts.splice(..0, self.request.target.map(address::from_knock));
        service::list(&hosts)
    }

    fn missing(self, open: &OpenRequest) -> String {
        let refused = |one: &&Wanted| {
            let alone = OpenRequest {
                services: vec![(*one).clone()],
                target: None,
                ..open.clone()
            };
            self.policy.check(&alone, &self.settings.catalog) == Err(Rule::Service)
        };
        service::list(&open.services.iter().filter(refused).collect::<Vec<_>>())
    }
}

/// What is wrong with a one-time code. Contains no digit of it.
fn code(fault: CodeFault, user: &str) -> String {
    match fault {
        CodeFault::Missing => format!(
            "{user} must send a code with each opening knock; set code = \"ask\" or a code_command in the client's profile"
        ),
        CodeFault::Wrong => "it is neither the current code nor the one before or after; check the authenticator's clock and secret".to_owned(),
        CodeFault::Used => "a code counts once for IPv4 and once for IPv6; wait for the next one".to_owned(),
        CodeFault::Blocked => "five wrong codes came, and one is forgotten each minute; wait, and change the key if these were no typing errors".to_owned(),
    }
}

pub(super) fn list_or<T: std::fmt::Display>(items: &[T], empty: &str) -> String {
    if items.is_empty() {
        empty.to_owned()
    } else {
        service::list(items)
    }
}
