//! What a comparison of a field tests.

use std::collections::HashMap;
use std::net::IpAddr;

use super::bytes::{self, Range};
use super::registers::{Field, Load};
use crate::adapters::netlink::attributes;
use crate::core::host_rules::{Condition, Test, networks_between};
use crate::model::address::Family;

const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
pub(super) const META_MARK: u32 = 3;
pub(super) const CT_MARK: u32 = 3;
/// A status bit of connections.
const DESTINATION_NAT: u32 = 1 << 5;
const FIB_ADDRESS_TYPE: u32 = 3;
const FIB_SOURCE: u32 = 1;
const FIB_DESTINATION: u32 = 2;
const FIB_PRESENT: u32 = 32;
const UNICAST: u32 = 1;
const LOCAL: u32 = 2;
const TCP: u8 = 6;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const SYN: u32 = 0x02;
const ACK: u32 = 0x10;

/// States of connection tracking by their bit.
pub(super) const STATES: [(u32, &str); 5] = [
    (1, "invalid"),
    (2, "established"),
    (4, "related"),
    (8, "new"),
    (64, "untracked"),
];

/// What is known about the packet from the conditions before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) family: Option<Family>,
    pub(super) protocol: Option<u8>,
    pub(super) interfaces: &'a HashMap<u32, String>,
}

/// The parts of a header that rules usually name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Source,
    Destination,
    Protocol,
    Fragment,
    SourcePort,
    Port,
    TcpFlags,
    IcmpType(u32),
    IcmpCode,
}

impl Context<'_> {
    /// The conditions that together say: the field is in one of the ranges.
    pub(super) fn compare(&self, load: &Load, ranges: &[Range]) -> Vec<Condition> {
        self.conditions(load, ranges)
            .unwrap_or_else(|| vec![Condition::unknown()])
    }

    fn conditions(&self, load: &Load, ranges: &[Range]) -> Option<Vec<Condition>> {
        let numbers = Numbers { load, ranges };
        if !load.mask.is_empty() && load.mask.iter().all(|byte| *byte == 0) {
            let value = load.xor(load.mask.len());
            let has = |range: &Range| range.first <= value && value <= range.last;
            return Some(vec![Condition::is(Test::constant(ranges.iter().any(has)))]);
        }
        let one = match &load.field {
            Field::Payload { base, offset } => return self.payload(*base, *offset, load, ranges),
            Field::Meta(key) => self.meta(*key, &numbers)?,
            Field::Ct { key, is_reply } => tracked(*key, *is_reply, &numbers)?,
            Field::Fib { result, flags } => route(*result, *flags, &numbers)?,
            Field::Constant(_) | Field::Opaque => return None,
        };
        Some(vec![one])
    }

    fn meta(&self, key: u32, numbers: &Numbers<'_>) -> Option<Condition> {
        match key {
            1 => numbers.family(0x0800, 0x86dd),
            META_MARK => numbers.mark(),
            4 | 5 => {
                let indexes = numbers.exact()?;
                let names = indexes
                    .iter()
                    .filter_map(|index| self.interfaces.get(index));
                Some(interface(key == 5, names.cloned().collect()))
            }
            6 | 7 => {
                let names: Option<_> = numbers.ranges.iter().map(interface_name).collect();
                let names = names.filter(|_| numbers.load.mask.is_empty())?;
                Some(interface(key == 7, names))
            }
            15 => numbers.family(2, 10),
            16 => numbers.protocol(),
            // the packet is for this host, and no IPsec brought it
            19 | 25 => numbers.constant(0),
            _ => None,
        }
    }

    /// Whether the field is the whole source address.
    pub(super) fn is_source(&self, load: &Load) -> bool {
        let Field::Payload { base, offset } = load.field else {
            return false;
        };
        let part = self.part(base, offset);
        load.mask.is_empty()
            && part.is_some_and(|(part, start, size)| {
                part == Part::Source && start == offset && size == load.length
            })
    }

    fn payload(
        &self,
        base: u32,
        offset: usize,
        load: &Load,
        ranges: &[Range],
    ) -> Option<Vec<Condition>> {
        let length = ranges
            .first()
            .map_or(load.length, |range| range.first.len());
        let mut conditions = Vec::new();
        let mut at = 0;
        while at < length {
            let (part, start, size) = self.part(base, offset + at)?;
            let end = length.min((start + size).saturating_sub(offset));
            let is_whole = at == 0 && end == length;
            if !is_whole && !matches!(ranges, [one] if one.is_single()) {
                return None;
            }
            let cut: Vec<Range> = ranges
                .iter()
                .map(|range| range.part(at, end))
                .collect::<Option<_>>()?;
            let inner = load.part(length, at, end);
            let offset_in_part = offset + at - start;
            conditions.push(self.header_part(part, offset_in_part, size, &inner, &cut)?);
            at = end;
        }
        Some(conditions)
    }

    /// The part of a header at an offset, where it starts, and its size.
    fn part(&self, base: u32, offset: usize) -> Option<(Part, usize, usize)> {
        let parts: &[(Part, usize, usize)] = match (base, self.family, self.protocol) {
            (NETWORK_HEADER, Some(Family::V4), _) => &[
                (Part::Fragment, 6, 2),
                (Part::Protocol, 9, 1),
                (Part::Source, 12, 4),
                (Part::Destination, 16, 4),
            ],
            (NETWORK_HEADER, Some(Family::V6), _) => &[
                (Part::Protocol, 6, 1),
                (Part::Source, 8, 16),
                (Part::Destination, 24, 16),
            ],
            (TRANSPORT_HEADER, _, Some(ICMP)) => {
                &[(Part::IcmpType(8), 0, 1), (Part::IcmpCode, 1, 1)]
            }
            (TRANSPORT_HEADER, _, Some(ICMPV6)) => {
                &[(Part::IcmpType(128), 0, 1), (Part::IcmpCode, 1, 1)]
            }
            (TRANSPORT_HEADER, _, Some(TCP)) => &[
                (Part::SourcePort, 0, 2),
                (Part::Port, 2, 2),
                (Part::TcpFlags, 13, 1),
            ],
            (TRANSPORT_HEADER, ..) => &[(Part::SourcePort, 0, 2), (Part::Port, 2, 2)],
            _ => &[],
        };
        let mut parts = parts.iter();
        parts
            .find(|(_, start, size)| (*start..start + size).contains(&offset))
            .copied()
    }

    fn header_part(
        &self,
        part: Part,
        offset: usize,
        size: usize,
        load: &Load,
        ranges: &[Range],
    ) -> Option<Condition> {
        let numbers = Numbers { load, ranges };
        match part {
            Part::Source => networks(offset, size, load, ranges).map(Test::Source),
            Part::Destination => networks(offset, size, load, ranges).map(Test::Destination),
            _ if load.length != size || offset != 0 => None,
            Part::Protocol => return numbers.protocol(),
            // an ordinary packet is no fragment; nobody asks for the other bits
            Part::Fragment if load.mask == [0x1f, 0xff] => return numbers.constant(0),
            Part::Fragment => None,
            Part::SourcePort => Some(Test::Few),
            Part::Port => numbers.ports().map(Test::Port),
            Part::TcpFlags => return numbers.flags(),
            Part::IcmpType(echo_request) => return numbers.constant(echo_request),
            Part::IcmpCode => return numbers.constant(0),
        }
        .map(Condition::is)
    }
}

/// The networks of addresses whose first bytes are in the ranges.
fn networks(
    offset: usize,
    size: usize,
    load: &Load,
    ranges: &[Range],
) -> Option<Vec<ipnet::IpNet>> {
    if offset != 0 {
        return None;
    }
    let length = load.length;
    let mask = load.mask(length);
    let is_prefix = bytes::successor(&mask).is_none() || is_prefix(&mask);
    let mut found = Vec::new();
    for range in ranges {
        let (mut first, mut last) = (range.first.clone(), range.last.clone());
        if !load.mask.is_empty() {
            if !range.is_single() || !is_prefix {
                return None;
            }
            first = bytes::xor(&first, &load.xor(length));
            // a bit outside the mask is never set
            if bytes::and(&first, &mask) != first {
                continue;
            }
            last = first
                .iter()
                .zip(&mask)
                .map(|(byte, mask)| byte | !mask)
                .collect();
        }
        first.resize(size, 0);
        last.resize(size, 0xff);
        let address = |bytes: &[u8]| -> Option<IpAddr> { attributes::address(bytes) };
        found.extend(networks_between(address(&first)?, address(&last)?)?);
    }
    Some(found)
}

fn is_prefix(mask: &[u8]) -> bool {
    let ones: u32 = mask.iter().map(|byte| byte.leading_ones()).sum();
    let set: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
    let mut rest = mask.iter().skip_while(|byte| **byte == 0xff).skip(1);
    ones == set && rest.all(|byte| *byte == 0)
}

/// A name, or the start of names with `*`.
fn interface(is_out: bool, names: Vec<String>) -> Condition {
    Condition::is(if is_out {
        Test::OutInterface(names)
    } else {
        Test::Interface(names)
    })
}

fn interface_name(range: &Range) -> Option<String> {
    const NAME_LEN: usize = 16;
    let start = |bytes: &[u8], end: u8| -> Option<String> {
        let length = bytes
            .iter()
            .rposition(|byte| *byte != end)
            .map_or(0, |at| at + 1);
        String::from_utf8(bytes.get(..length)?.to_vec()).ok()
    };
    let name = start(&range.first, 0)?;
    if range.is_single() {
        let is_whole = range.first.len() == NAME_LEN || range.first.contains(&0);
        return Some(if is_whole { name } else { format!("{name}*") });
    }
    (start(&range.last, 0xff)? == name).then(|| format!("{name}*"))
}

fn tracked(key: u32, is_reply: bool, numbers: &Numbers<'_>) -> Option<Condition> {
    if is_reply {
        return None;
    }
    match key {
        0 => {
            let mut states = Vec::new();
            for (bit, name) in STATES {
                if numbers.have(bit)? {
                    states.push(name.to_owned());
                }
            }
            Some(Condition::is(Test::State(states)))
        }
        // the first packet of a connection
        1 | 23 => numbers.constant(0),
        2 => Some(match (numbers.have(0)?, numbers.have(DESTINATION_NAT)?) {
            (false, true) => Condition::is(Test::State(vec!["dnat".to_owned()])),
            (true, false) => Condition::is(Test::State(vec!["dnat".to_owned()])).negated(),
            (true, true) => Condition::is(Test::Always),
            (false, false) => Condition::is(Test::Few),
        }),
        // mark and labels of an ordinary connection
        CT_MARK | 13 => Some(Condition::is(if numbers.have(0)? {
            Test::Always
        } else {
            Test::Few
        })),
        7 => numbers.family(2, 10),
        10 => numbers.protocol(),
        12 => numbers
            .ports()
            .map(|ports| Condition::is(Test::OriginalPort(ports))),
        _ => None,
    }
}

fn route(result: u32, flags: u32, numbers: &Numbers<'_>) -> Option<Condition> {
    if result == FIB_ADDRESS_TYPE && flags & FIB_DESTINATION != 0 {
        let is = match (numbers.have(LOCAL)?, numbers.have(UNICAST)?) {
            (true, false) => Condition::is(Test::ToThisHost),
            (false, true) => Condition::is(Test::ToThisHost).negated(),
            (both, _) => Condition::is(Test::constant(both)),
        };
        return Some(is);
    }
    if flags & FIB_SOURCE == 0 {
        return None;
    }
    if result == FIB_ADDRESS_TYPE {
        return numbers.constant(UNICAST);
    }
    // an ordinary packet has a way back
    if flags & FIB_PRESENT != 0 {
        return numbers.constant(1);
    }
    matches!(numbers.exact().as_deref(), Some([0])).then(|| Condition::is(Test::Never))
}

/// A numeric field and the ranges that it is compared with.
struct Numbers<'a> {
    load: &'a Load,
    ranges: &'a [Range],
}

impl Numbers<'_> {
    fn pairs(&self) -> Option<Vec<(u32, u32)>> {
        let number = |bytes: &[u8]| bytes::number(bytes, self.load.is_native);
        let pair = |range: &Range| {
            // the kernel compares bytes, so a range of native numbers has another meaning
            if self.load.is_native && !range.is_single() && range.first.len() > 1 {
                return None;
            }
            Some((number(&range.first)?, number(&range.last)?))
        };
        self.ranges.iter().map(pair).collect()
    }

    fn mask_and_xor(&self) -> Option<(u32, u32)> {
        if self.load.mask.is_empty() {
            return Some((u32::MAX, 0));
        }
        let number = |bytes: &[u8]| bytes::number(bytes, self.load.is_native);
        Some((number(&self.load.mask)?, number(&self.load.xor)?))
    }

    /// Whether the condition holds if the field has this value.
    fn have(&self, value: u32) -> Option<bool> {
        let (mask, xor) = self.mask_and_xor()?;
        let value = value & mask ^ xor;
        let pairs = self.pairs()?;
        Some(
            pairs
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&value)),
        )
    }

    fn constant(&self, value: u32) -> Option<Condition> {
        Some(Condition::is(Test::constant(self.have(value)?)))
    }

    fn family(&self, v4: u32, v6: u32) -> Option<Condition> {
        Some(Condition::is(match (self.have(v4)?, self.have(v6)?) {
            (true, false) => Test::Family(Family::V4),
            (false, true) => Test::Family(Family::V6),
            (both, _) => Test::constant(both),
        }))
    }

    fn protocol(&self) -> Option<Condition> {
        let mut numbers = Vec::new();
        for number in 0..=u8::MAX {
            if self.have(number.into())? {
                numbers.push(number);
            }
        }
        Some(Condition::is(Test::Protocol(numbers)))
    }

    /// The flags of a packet that opens a connection, or that belongs to one.
    fn flags(&self) -> Option<Condition> {
        let test = |name: &str| Test::Flags {
            mask: ["fin", "syn", "rst", "ack"].map(str::to_owned).to_vec(),
            set: vec![name.to_owned()],
        };
        Some(Condition::is(match (self.have(SYN)?, self.have(ACK)?) {
            (true, false) => test("syn"),
            (false, true) => test("ack"),
            (both, _) => Test::constant(both),
        }))
    }

    fn ports(&self) -> Option<Vec<(u16, u16)>> {
        if !self.load.mask.is_empty() {
            return None;
        }
        let port = |number: u32| u16::try_from(number).ok();
        let pairs = self.pairs()?.into_iter();
        pairs
            .map(|(first, last)| Some((port(first)?, port(last)?)))
            .collect()
    }

    fn exact(&self) -> Option<Vec<u32>> {
        let (mask, xor) = self.mask_and_xor()?;
        let pairs = self.pairs()?.into_iter();
        pairs
            .map(|(first, last)| (first == last && mask == u32::MAX).then_some(first ^ xor))
            .collect()
    }

    fn mark(&self) -> Option<Condition> {
        let (mask, xor) = self.mask_and_xor()?;
        let mut tests = Vec::new();
        for (first, last) in self.pairs()? {
            if first != last {
                return None;
            }
            tests.push(Test::Mark {
                value: first ^ xor,
                mask,
            });
        }
        Some(match <[Test; 1]>::try_from(tests) {
            Ok([one]) => Condition::is(one),
            Err(tests) => {
                let lists = tests.into_iter().map(|test| vec![Condition::is(test)]);
                Condition::is(Test::AnyOf(lists.collect()))
            }
        })
    }
}
