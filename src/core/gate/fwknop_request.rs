//! From the request in a packet of fwknop to the request that the policy approves, as `approve` does it for a knock.
//!
//! A client of fwknop names ports, never services. A forward is found by the host and port that it leads to.

use std::net::IpAddr;

use postern_fwknop::{Allow, Message, Port, Protocol, Request, Target};
use postern_proto::limits::MAX_SERVICES;

use super::fwknop_keys::FwknopUser;
use crate::model::address;
use crate::model::catalog::{self, Catalog, Forward};
use crate::model::policy::{self, Policy};
use crate::model::reason::Rule;
use crate::model::request::{AddressFrom, OpenRequest};
use crate::model::service::{self, Ports, Wanted};
use crate::model::time::Timestamp;

/// One of the users whose packet it can be, and what that user may open.
#[derive(Clone, Copy)]
pub(crate) struct Candidate<'a> {
    pub(crate) user: &'a FwknopUser,
    pub(crate) policy: &'a Policy,
    pub(crate) catalog: &'a Catalog,
}

impl Candidate<'_> {
    /// What the request may do by the policy alone, without the quota, or the rule that refuses it.
    pub(crate) fn approve(
        self,
        now: Timestamp,
        request: &Request,
        source: IpAddr,
        destination: IpAddr,
    ) -> Result<OpenRequest, Rule> {
        let Self {
            user,
            policy,
            catalog,
        } = self;
        policy.check_knock(source, now)?;
        if !user.takes(destination) {
            return Err(Rule::Destination);
        }
        if user
            .username
            .as_ref()
            .is_some_and(|name| *name != request.user)
        {
            return Err(Rule::Username);
        }
        let (allow, from) = match request.allow {
            Allow::Source => (source.to_canonical(), AddressFrom::Observed),
            Allow::Address(claimed) if source.to_canonical() == claimed => {
                (claimed.into(), AddressFrom::Same)
            }
            Allow::Address(claimed) => (claimed.into(), AddressFrom::Claimed),
        };
        let asked = request.timeout_s.unwrap_or_default();
        let open = OpenRequest {
            user: policy.user.to_string(),
            allow: address::host(allow),
            from,
            target: None,
            services: services(request, user, policy, catalog)?,
            duration: policy.clip(user.max_asked.map_or(asked, |most| asked.min(most)), now),
        };
        policy.check(&open, catalog)?;
        Ok(open)
    }
}

/// The request in words for the log.
pub(crate) fn asked(request: &Request, source: IpAddr) -> String {
    asked_for(request, &format!("{} (source)", source.to_canonical()))
}

/// The same if the packet's source is unknown.
pub(crate) fn asked_by_anyone(request: &Request) -> String {
    asked_for(request, "its source address")
}

fn asked_for(request: &Request, source: &str) -> String {
    let address = match request.allow {
        Allow::Source => source.to_owned(),
        Allow::Address(claimed) => claimed.to_string(),
    };
    let ports = |ports: &[Port]| {
        let texts: Vec<String> = ports.iter().map(Port::to_string).collect();
        texts.join(", ")
    };
    match &request.message {
        Message::Command(text) => format!("run {text:?} for {address}"),
        Message::Access(list) => format!("open {} for {address}", ports(list)),
        Message::Nat(list, to) | Message::LocalNat(list, to) => {
            format!(
                "open {} to {:?} port {} for {address}",
                ports(list),
                to.host,
                to.port
            )
        }
    }
}

fn services(
    request: &Request,
    user: &FwknopUser,
    policy: &Policy,
    catalog: &Catalog,
) -> Result<Vec<Wanted>, Rule> {
    let ports = match &request.message {
        Message::Command(text) => {
            let service = user.commands.get(text).cloned();
            return service.map(|one| vec![one]).ok_or(Rule::Command);
        }
        Message::Access(ports) | Message::Nat(ports, _) | Message::LocalNat(ports, _) => ports,
    };
    if ports.len() > MAX_SERVICES {
        return Err(Rule::Service);
    }
    let service = |port: &Port| match &request.message {
        Message::Nat(_, to) => forwarding(policy, catalog, |forward| {
            leads(forward, *port, to)
                && forward.host.is_some()
                && to.address().map(IpAddr::V4) == forward.host
        }),
        // the client names the gate as it was typed, so the host says nothing
        Message::LocalNat(_, to) => forwarding(policy, catalog, |forward| {
            leads(forward, *port, to) && forward.host.is_none()
        }),
        Message::Access(_) | Message::Command(_) => {
            let at = ports_of(*port);
            let named = user.access.of(at);
            Ok(named.unwrap_or_else(|| accessed(policy, catalog, at)))
        }
    };
    let mut services: Vec<Wanted> = Vec::with_capacity(ports.len());
    for port in ports {
        let service = service(port)?;
        // several ports may open one service
        if !services.contains(&service) {
            services.push(service);
        }
    }
    Ok(services)
}

/// The port itself, or the forward from it if the user has no other service there. It is what FORCE_NAT of fwknopd does:
/// its clients do not know that the port leads to another host.
fn accessed(policy: &Policy, catalog: &Catalog, port: Ports) -> Wanted {
    let mut plain = policy.services.clone();
    plain.retain(|one| catalog::forward_of(one, catalog).is_none());
    let plain = policy::ports_of(&plain, catalog).unwrap_or_default();
    let is_plain = service::covered(&service::joined(plain), port);
    let forward = forwarding(policy, catalog, |forward| {
        !is_plain && forward.at == port && forward.host.is_some()
    });
    forward.unwrap_or(Wanted::Ports(port))
}

/// The user's service with a forward like this.
fn forwarding(
    policy: &Policy,
    catalog: &Catalog,
    is_wanted: impl Fn(&Forward) -> bool,
) -> Result<Wanted, Rule> {
    let mut services = policy.services.iter();
    let found = services.find(|one| catalog::forward_of(one, catalog).is_some_and(&is_wanted));
    found.cloned().ok_or(Rule::Nat)
}

/// Whether a forward leads from exactly this port of the gate to the target's port.
fn leads(forward: &Forward, port: Port, to: &Target) -> bool {
    let at = ports_of(port);
    forward.at == at && at.moved_to(to.port.get()) == Some(forward.inner())
}

fn ports_of(port: Port) -> Ports {
    match port.protocol {
        Protocol::Tcp => Ports::tcp(port.number),
        Protocol::Udp => Ports::udp(port.number),
    }
}
