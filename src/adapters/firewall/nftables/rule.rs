//! What the rules of all chains are put together from. Pure.

use super::expressions::{self, Expression};
use super::sets::{Set, Side};
use crate::model::address::Family;
use crate::model::service::Ports;

pub(super) type Rule = Vec<Expression>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    Packet {
        number: u32,
        kind: &'static str,
        priority: i32,
    },
    Jump,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) name: &'static str,
    pub(super) hook: Hook,
    pub(super) rules: Vec<Rule>,
}

pub(super) fn sets(side: Side) -> impl Iterator<Item = Set> {
    Set::all().filter(move |set| set.side == side)
}

pub(super) fn service(ports: Ports) -> Rule {
    let icmp = match ports.protocol_name() {
        "icmpv6" => Family::V6,
        _ => Family::V4,
    };
    match ports.range() {
        None => expressions::echo_request(icmp),
        Some((first, last)) => all([
            &expressions::protocol(ports.protocol()),
            &expressions::port(first, last),
        ]),
    }
}

pub(super) fn all<const N: usize>(parts: [&[Expression]; N]) -> Rule {
    parts.concat()
}
