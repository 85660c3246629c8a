//! Matches and targets of xtables in rules of iptables: the C structures in their `info`.
//!
//! The layouts are those of linux/netfilter/xt_*.h. Fields are in the machine's byte order unless said otherwise.

use std::net::IpAddr;

use ipnet::IpNet;

use super::bytes::{u16_at, u32_at};
use super::fields::STATES;
use crate::adapters::firewall::host::iptables_save::CONTINUING;
use crate::adapters::netlink::attributes;
use crate::core::host_rules::{Condition, Effect, NewDestination, Test, Verdict, networks_between};
use crate::model::address::Family;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// The conditions that a match stands for; `None` if it is not known.
pub(super) fn conditions(
    name: &str,
    revision: u32,
    info: &[u8],
    family: Option<Family>,
) -> Option<Vec<Condition>> {
    let byte = |at: usize| info.get(at).copied();
    let one = |test: Test, is_negated: bool| Some(vec![Condition { test, is_negated }]);
    match (name, revision) {
        ("tcp", _) => tcp(info),
        ("udp", _) => {
            let mut conditions = ports(info, byte(8)?)?;
            conditions.insert(0, Condition::is(Test::Protocol(vec![UDP])));
            Some(conditions)
        }
        ("multiport", 1) => multiport(info),
        ("mark", 1) => {
            let (value, mask) = (u32_at(info, 0)?, u32_at(info, 4)?);
            one(Test::Mark { value, mask }, byte(8)? != 0)
        }
        ("connmark", 1) => {
            let is_zero = u32_at(info, 0)? == 0;
            let test = if is_zero { Test::Always } else { Test::Few };
            one(test, byte(8)? != 0)
        }
        ("state", _) => one(Test::State(states(u32_at(info, 0)?, 64)), false),
        ("conntrack", 3) => conntrack(info),
        ("addrtype", 0) => {
            let flags = [u32_at(info, 4)? != 0, u32_at(info, 8)? != 0];
            address_types(info, flags, 0)
        }
        ("addrtype", 1) => {
            let flags = u32_at(info, 4)?;
            address_types(info, [flags & 1 != 0, flags & 2 != 0], flags & !3)
        }
        // an ordinary stranger is below every limit
        ("limit", _) => one(Test::Always, false),
        ("hashlimit", 1) => one(Test::constant(u32_at(info, 16)? & 0x10 == 0), false),
        ("hashlimit", 2 | 3) => one(Test::constant(u32_at(info, 272)? & 0x10 == 0), false),
        ("connlimit", _) => one(Test::constant(u32_at(info, 20)? & 1 != 0), false),
        ("icmp", _) => icmp(info, 1, 8),
        ("icmp6", _) => icmp(info, 58, 128),
        ("set", _) => {
            let flags = byte(3)?;
            let test = if flags & 2 != 0 {
                Test::SomeSources
            } else {
                Test::Unknown
            };
            one(test, flags & 1 != 0)
        }
        ("recent", _) => {
            let (action, is_negated) = (byte(8)?, byte(9)? != 0);
            let test = if action & 2 != 0 {
                Test::Always
            } else {
                Test::SomeSources
            };
            one(test, is_negated)
        }
        ("mac", _) => one(Test::SomeSources, u32_at(info, 8)? != 0),
        ("iprange", 1) => address_range(info, family?),
        ("pkttype", _) => one(Test::constant(u32_at(info, 0)? == 0), u32_at(info, 4)? != 0),
        // an ordinary stranger's packet has a valid way back
        ("rpfilter", _) => one(Test::constant(byte(0)? & 4 == 0), false),
        // an ordinary packet is no fragment, and has no extension headers
        ("ah" | "esp" | "frag" | "rt" | "hbh" | "dst" | "mh", _) => one(Test::Never, false),
        _ => None,
    }
}

/// First and last source port, first and last port, in the order of the machine.
fn ports(info: &[u8], inverted: u8) -> Option<Vec<Condition>> {
    let mut conditions = Vec::new();
    for (at, bit) in [(0, 1), (4, 2)] {
        let range = (u16_at(info, at)?, u16_at(info, at + 2)?);
        let is_negated = inverted & bit != 0;
        if range == (0, u16::MAX) && !is_negated {
            continue;
        }
        let test = match at {
            0 => Test::Few,
            _ => Test::Port(vec![range]),
        };
        conditions.push(Condition { test, is_negated });
    }
    Some(conditions)
}

fn tcp(info: &[u8]) -> Option<Vec<Condition>> {
    let byte = |at: usize| info.get(at).copied();
    let (option, mask, set, inverted) = (byte(8)?, byte(9)?, byte(10)?, byte(11)?);
    let mut conditions = vec![Condition::is(Test::Protocol(vec![TCP]))];
    conditions.extend(ports(info, inverted)?);
    if option != 0 {
        conditions.push(Condition::unknown());
    }
    let is_negated = inverted & 4 != 0;
    if mask != 0 || is_negated {
        let test = |name: &str| Test::Flags {
            mask: ["fin", "syn", "rst", "ack"].map(str::to_owned).to_vec(),
            set: vec![name.to_owned()],
        };
        let test = match (SYN & mask == set, ACK & mask == set) {
            (true, false) => test("syn"),
            (false, true) => test("ack"),
            (both, _) => Test::constant(both),
        };
        conditions.push(Condition { test, is_negated });
    }
    Some(conditions)
}

fn multiport(info: &[u8]) -> Option<Vec<Condition>> {
    let (kind, count) = (*info.first()?, usize::from(*info.get(1)?));
    let is_negated = *info.get(47)? != 0;
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    let mut is_range_open = false;
    for index in 0..count.min(15) {
        let port = u16_at(info, 2 + 2 * index)?;
        match ranges.last_mut().filter(|_| is_range_open) {
            Some((_, last)) => *last = port,
            None => ranges.push((port, port)),
        }
        is_range_open = *info.get(32 + index)? != 0;
    }
    let test = match kind {
        0 => Test::Few,
        // with kind 2 also the source port counts, which is none of these in an ordinary packet
        _ => Test::Port(ranges),
    };
    Some(vec![Condition { test, is_negated }])
}

/// The names of the states in a mask; the bit of `untracked` depends on the match.
fn states(mask: u32, untracked: u32) -> Vec<String> {
    let known = STATES.iter().filter(|(bit, name)| {
        let bit = if *name == "untracked" {
            untracked
        } else {
            *bit
        };
        mask & bit != 0
    });
    known.map(|(_, name)| (*name).to_owned()).collect()
}

fn conntrack(info: &[u8]) -> Option<Vec<Condition>> {
    const STATE: u16 = 1;
    const ORIGINAL_PORT: u16 = 1 << 9;
    const DIRECTION: u16 = 1 << 12;
    const STATUS: u16 = 1 << 6;
    const DESTINATION_NAT: u16 = 1 << 5;
    const STATE_ALIAS: u16 = 1 << 13;
    const UNTRACKED: u32 = 1 << 8;
    const TRANSLATED_DESTINATION: u32 = 1 << 7;
    let (flags, inverted) = (u16_at(info, 146)?, u16_at(info, 148)?);
    let mut conditions = Vec::new();
    if flags & !(STATE | ORIGINAL_PORT | DIRECTION | STATUS | STATE_ALIAS) != 0 {
        conditions.push(Condition::unknown());
    }
    let mut add = |flag: u16, test: Test| {
        if flags & flag != 0 {
            conditions.push(Condition {
                test,
                is_negated: inverted & flag != 0,
            });
        }
    };
    let mask = u32::from(u16_at(info, 150)?);
    let mut names = states(mask, UNTRACKED);
    if mask & TRANSLATED_DESTINATION != 0 {
        names.push("dnat".to_owned());
    }
    add(STATE, Test::State(names));
    let port = (u16_at(info, 140)?, u16_at(info, 156)?);
    add(ORIGINAL_PORT, Test::OriginalPort(vec![port]));
    // the original direction; the inverted form means the replies
    add(DIRECTION, Test::Always);
    add(
        STATUS,
        match u16_at(info, 152)? {
            0 => Test::Always,
            DESTINATION_NAT => Test::State(vec!["dnat".to_owned()]),
            _ => Test::Few,
        },
    );
    Some(conditions)
}

fn address_types(
    info: &[u8],
    [is_source_inverted, is_destination_inverted]: [bool; 2],
    limits: u32,
) -> Option<Vec<Condition>> {
    const UNICAST: u16 = 1 << 1;
    const LOCAL: u16 = 1 << 2;
    let (source, destination) = (u16_at(info, 0)?, u16_at(info, 2)?);
    // types of one interface only
    if limits != 0 {
        return None;
    }
    let mut conditions = Vec::new();
    if source != 0 {
        conditions.push(Condition {
            test: Test::constant(source & UNICAST != 0),
            is_negated: is_source_inverted,
        });
    }
    if destination != 0 {
        let is = match (destination & LOCAL != 0, destination & UNICAST != 0) {
            (true, false) => Condition::is(Test::ToThisHost),
            (false, true) => Condition::is(Test::ToThisHost).negated(),
            (both, _) => Condition::is(Test::constant(both)),
        };
        conditions.push(if is_destination_inverted {
            is.negated()
        } else {
            is
        });
    }
    Some(conditions)
}

fn icmp(info: &[u8], protocol: u8, echo_request: u8) -> Option<Vec<Condition>> {
    let [kind, first_code, _, inverted, ..] = *info else {
        return None;
    };
    let is_echo = (kind == 0xff && protocol == 1) || (kind == echo_request && first_code == 0);
    Some(vec![
        Condition::is(Test::Protocol(vec![protocol])),
        Condition {
            test: Test::constant(is_echo),
            is_negated: inverted & 1 != 0,
        },
    ])
}

fn address_range(info: &[u8], family: Family) -> Option<Vec<Condition>> {
    let flags = *info.get(64)?;
    let length = family.pick(4, 16);
    let address = |at: usize| -> Option<IpAddr> { attributes::address(info.get(at..at + length)?) };
    let range =
        |at: usize| -> Option<Vec<IpNet>> { networks_between(address(at)?, address(at + 16)?) };
    let mut conditions = Vec::new();
    if flags & 1 != 0 {
        conditions.push(Condition {
            test: Test::Source(range(0)?),
            is_negated: flags & 0x10 != 0,
        });
    }
    if flags & 2 != 0 {
        conditions.push(Condition {
            test: Test::Destination(range(32)?),
            is_negated: flags & 0x20 != 0,
        });
    }
    Some(conditions)
}

/// What a target does with the packet; `None` if it is not known.
pub(super) fn verdict(name: &str, revision: u32, info: &[u8]) -> Option<Verdict> {
    Some(match name {
        "ACCEPT" | "SNAT" | "MASQUERADE" | "NETMAP" => Verdict::Accept,
        "DROP" | "REJECT" | "TARPIT" => Verdict::Drop,
        "QUEUE" | "NFQUEUE" | "TPROXY" | "SYNPROXY" => Verdict::Queue,
        "DNAT" | "REDIRECT" => Verdict::Rewrite(new_destination(name, revision, info)),
        name if CONTINUING.contains(&name) => Verdict::Continue,
        _ => return None,
    })
}

/// A range of addresses counts as unknown.
fn new_destination(name: &str, revision: u32, info: &[u8]) -> NewDestination {
    // the first revision has IPv4 addresses and a count before them
    let is_first = revision == 0;
    let (flags_at, length, stride) = if is_first { (4, 4, 4) } else { (0, 16, 16) };
    let flags = u32_at(info, flags_at).unwrap_or(0);
    let addresses = flags_at + 4;
    let ports = addresses + 2 * stride;
    let slice = |at: usize, length: usize| info.get(at..at.saturating_add(length));
    let address = slice(addresses, length).and_then(|bytes| {
        // an IPv4 address is in the first bytes of the union
        let is_v4 = bytes.iter().skip(4).all(|byte| *byte == 0);
        let bytes = if is_v4 { bytes.get(..4)? } else { bytes };
        attributes::address(bytes)
    });
    let is_one = slice(addresses, length) == slice(addresses + stride, length);
    let port = slice(ports, 2).and_then(|bytes| bytes.try_into().ok());
    NewDestination {
        address: address.filter(|_| name == "DNAT" && flags & 1 != 0 && is_one),
        port: port
            .map(u16::from_be_bytes)
            .filter(|_| flags & 2 != 0 && slice(ports, 2) == slice(ports + 2, 2)),
    }
}

/// What a target changes about the packet.
pub(super) fn effect(name: &str, revision: u32, info: &[u8]) -> Option<Effect> {
    const RESTORE: u8 = 2;
    let unknown = Effect::UnknownMark { mask: u32::MAX };
    match (name, revision) {
        ("MARK", 2) => {
            let value = u32_at(info, 0).unwrap_or_default();
            let mask = u32_at(info, 4).unwrap_or(u32::MAX);
            // the kernel clears the bits of the mask, then flips those of the value
            Some(if value & !mask == 0 {
                Effect::Mark { mask, value }
            } else {
                Effect::UnknownMark { mask: mask | value }
            })
        }
        ("MARK" | "HMARK" | "TPROXY", _) => Some(unknown),
        ("CONNMARK", 1) => (info.get(12) == Some(&RESTORE)).then_some(unknown),
        ("CONNMARK", 2) => (info.get(14) == Some(&RESTORE)).then_some(unknown),
        ("CONNMARK", _) => Some(unknown),
        ("NOTRACK", _) => Some(Effect::NoTracking),
        ("CT", _) => (u16_at(info, 0)? & 1 != 0).then_some(Effect::NoTracking),
        _ => None,
    }
}
