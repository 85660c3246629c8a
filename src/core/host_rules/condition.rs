//! Conditions of rules, and whether a packet fulfils them.

use std::net::IpAddr;

use ipnet::{IpNet, IpSubnets, Ipv4Subnets, Ipv6Subnets};

use super::packet::{Packet, State, Tracking};
use crate::model::address::Family;
use crate::model::host_set::HostSet;
use crate::model::service::Ports;

const TCP: u8 = 6;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) test: Test,
    pub(crate) is_negated: bool,
}

impl Condition {
    pub(crate) fn is(test: Test) -> Self {
        Self {
            test,
            is_negated: false,
        }
    }

    pub(crate) fn unknown() -> Self {
        Self::is(Test::Unknown)
    }

    pub(crate) fn negated(self) -> Self {
        Self {
            is_negated: !self.is_negated,
            ..self
        }
    }

    /// Whether the packet fulfils it before any rule changes its state; `None` if that is unknown.
    pub(super) fn holds(&self, packet: &Packet<'_>) -> Option<bool> {
        self.holds_in(packet, State::of(packet))
    }

    pub(super) fn holds_in(&self, packet: &Packet<'_>, state: State) -> Option<bool> {
        self.test
            .holds(packet, state)
            .map(|holds| holds != self.is_negated)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Test {
    Always,
    Never,
    Family(Family),
    Protocol(Vec<u8>),
    Port(Vec<(u16, u16)>),
    /// Ranges of destination ports before a rewrite.
    OriginalPort(Vec<(u16, u16)>),
    /// States of connection tracking in lower case; `dnat` is a packet whose destination was rewritten.
    State(Vec<String>),
    /// Names of interfaces; `+` or `*` at the end matches any suffix.
    Interface(Vec<String>),
    /// The same of the interface that the packet leaves by.
    OutInterface(Vec<String>),
    Source(Vec<IpNet>),
    Destination(Vec<IpNet>),
    /// The destination is an address of this host.
    ToThisHost,
    /// TCP flags: those in the mask, exactly these are set.
    Flags {
        mask: Vec<String>,
        set: Vec<String>,
    },
    /// The packet mark has this value within the mask.
    Mark {
        value: u32,
        mask: u32,
    },
    /// All conditions of one of these lists hold, such as an element of a set of addresses and ports.
    AnyOf(Vec<Vec<Condition>>),
    /// The source is in a set that grants may be added to; the conditions describe its elements now.
    InSet {
        set: HostSet,
        /// Of its addresses.
        family: Family,
        elements: Vec<Condition>,
    },
    /// Holds for some packets only, such as a source port or a connection mark. An ordinary packet does not fulfil it.
    Few,
    /// Holds for some sources only, and it is not known which. An ordinary stranger does not fulfil it.
    SomeSources,
    Unknown,
}

impl Test {
    pub(crate) fn constant(holds: bool) -> Self {
        if holds { Self::Always } else { Self::Never }
    }

    fn holds(&self, packet: &Packet<'_>, state: State) -> Option<bool> {
        match self {
            Self::Always => Some(true),
            Self::Never | Self::Few => Some(false),
            Self::Unknown => None,
            Self::SomeSources => packet.source.is_none().then_some(false),
            Self::Mark { value, mask } => state.has_mark(*value, *mask),
            Self::Source(networks) => Some(source(networks, packet)),
            Self::ToThisHost => Some(!packet.is_forwarded),
            Self::InSet { set, family, .. }
                if *family == packet.family && packet.sets.contains(set) =>
            {
                Some(true)
            }
            Self::InSet { elements, .. } => {
                all(elements.iter().map(|one| one.holds_in(packet, state)))
            }
            Self::AnyOf(lists) => any(lists
                .iter()
                .map(|list| all(list.iter().map(|one| one.holds_in(packet, state))))),
            Self::Family(family) => Some(*family == packet.family),
            Self::Protocol(numbers) => Some(numbers.contains(&packet.service.protocol())),
            Self::Port(ranges) => ports(ranges, packet.service),
            Self::OriginalPort(ranges) => {
                let original = packet.original.map(|original| original.service);
                ports(ranges, original.unwrap_or(packet.service))
            }
            Self::State(states) => {
                let own = match state.tracking {
                    Tracking::NotYet => "invalid",
                    Tracking::Untracked => "untracked",
                    Tracking::Unknown => return None,
                    Tracking::Tracked if packet.is_established => "established",
                    Tracking::Tracked => "new",
                };
                let is = |state: &str| state == own || state == "dnat" && packet.original.is_some();
                Some(states.iter().any(|state| is(state)))
            }
            Self::Interface(names) => Some(
                names
                    .iter()
                    .any(|name| matches_name(name, packet.interface)),
            ),
            Self::OutInterface(names) => packet
                .out_interface
                .map(|out| names.iter().any(|name| matches_name(name, out))),
            Self::Destination(networks) => destination(networks, packet),
            Self::Flags { mask, set } => (packet.service.protocol() == TCP).then(|| {
                let own = if packet.is_established { "ack" } else { "syn" };
                let seen: Vec<&String> = mask.iter().filter(|flag| *flag == own).collect();
                seen.len() == set.len() && set.iter().all(|flag| seen.contains(&flag))
            }),
        }
    }
}

fn all(mut results: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut is_certain = true;
    let is_false = results.any(|result| {
        is_certain &= result.is_some();
        result == Some(false)
    });
    if is_false {
        Some(false)
    } else {
        is_certain.then_some(true)
    }
}

fn any(results: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    all(results.map(|result| result.map(|holds| !holds))).map(|none| !none)
}

/// A stranger whose address is not known is in no network but that of all addresses.
fn source(networks: &[IpNet], packet: &Packet<'_>) -> bool {
    match packet.source {
        Some(address) => networks.iter().any(|network| network.contains(&address)),
        None => networks.iter().any(|network| {
            network.prefix_len() == 0 && Family::of_network(*network) == packet.family
        }),
    }
}

/// Unknown if the ranges cover only a part of the service.
fn ports(ranges: &[(u16, u16)], service: Ports) -> Option<bool> {
    let Some((first, last)) = service.range() else {
        return Some(false);
    };
    let covers = |(from, to): &(u16, u16)| *from <= first && last <= *to;
    let touches = |(from, to): &(u16, u16)| *from <= last && first <= *to;
    if ranges.iter().any(covers) {
        Some(true)
    } else if ranges.iter().any(touches) {
        None
    } else {
        Some(false)
    }
}

fn matches_name(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix(['+', '*']) {
        Some(start) => name.starts_with(start),
        None => !name.is_empty() && pattern == name,
    }
}

/// Unknown if the networks cover only a part of the possible destinations.
fn destination(networks: &[IpNet], packet: &Packet<'_>) -> Option<bool> {
    let possible = || {
        packet
            .destinations
            .iter()
            .filter(|possible| Family::of(possible.addr()) == packet.family)
    };
    let covered = possible()
        .filter(|possible| networks.iter().any(|network| network.contains(*possible)))
        .count();
    let touched =
        || possible().any(|possible| networks.iter().any(|network| possible.contains(network)));
    match covered {
        0 if touched() => None,
        0 => Some(false),
        all if all == possible().count() => Some(true),
        _ => None,
    }
}

/// The networks that together have all addresses from the first to the last.
pub(crate) fn networks_between(first: IpAddr, last: IpAddr) -> Option<Vec<IpNet>> {
    let subnets = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => Ipv4Subnets::new(first, last, 0).into(),
        (IpAddr::V6(first), IpAddr::V6(last)) => Ipv6Subnets::new(first, last, 0).into(),
        _ => return None,
    };
    let subnets: IpSubnets = subnets;
    Some(subnets.collect())
}
