//! Conditions of rules, and whether a packet fulfils them.

use ipnet::IpNet;

use super::packet::Packet;
use crate::model::address::Family;
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

    /// Whether the packet fulfils it; `None` if that is unknown.
    pub(super) fn holds(&self, packet: &Packet<'_>) -> Option<bool> {
        self.test
            .holds(packet)
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
    /// States of connection tracking in lower case.
    State(Vec<String>),
    /// Names of interfaces; `+` or `*` at the end matches any suffix.
    Interface(Vec<String>),
    Destination(Vec<IpNet>),
    /// TCP flags: those in the mask, exactly these are set.
    Flags {
        mask: Vec<String>,
        set: Vec<String>,
    },
    /// Holds for some peers or packets only, such as a source network or a mark. An ordinary stranger does not fulfil it.
    Few,
    Unknown,
}

impl Test {
    pub(crate) fn constant(holds: bool) -> Self {
        if holds { Self::Always } else { Self::Never }
    }

    fn holds(&self, packet: &Packet<'_>) -> Option<bool> {
        match self {
            Self::Always => Some(true),
            Self::Never | Self::Few => Some(false),
            Self::Unknown => None,
            Self::Family(family) => Some(*family == packet.family),
            Self::Protocol(numbers) => Some(numbers.contains(&packet.service.protocol())),
            Self::Port(ranges) => ports(ranges, packet.service),
            Self::OriginalPort(ranges) => ports(ranges, packet.original.unwrap_or(packet.service)),
            Self::State(states) => {
                let own = if packet.is_established {
                    "established"
                } else {
                    "new"
                };
                Some(states.iter().any(|state| state == own))
            }
            Self::Interface(names) => Some(
                names
                    .iter()
                    .any(|name| matches_name(name, packet.interface)),
            ),
            Self::Destination(networks) => destination(networks, packet),
            Self::Flags { mask, set } => (packet.service.protocol() == TCP).then(|| {
                let own = if packet.is_established { "ack" } else { "syn" };
                let seen: Vec<&String> = mask.iter().filter(|flag| *flag == own).collect();
                seen.len() == set.len() && set.iter().all(|flag| seen.contains(&flag))
            }),
        }
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
