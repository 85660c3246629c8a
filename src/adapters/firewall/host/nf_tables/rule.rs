//! Reads the expressions of a rule, by following what each register holds.

use std::sync::Arc;

use super::bytes::{self, Range};
use super::dump::Dumps;
use super::expression::{Data, is_of_iptables, verdict};
use super::fields::{Context, META_MARK};
use super::lookup;
use super::registers::{Field, Registers, is_verdict};
use super::sets::{Element, Set, Sets};
use super::xtables;
use crate::adapters::netlink::attributes::{self, each, find, text};
use crate::core::host_rules::{Condition, Effect, NewDestination, Test, Verdict};
use crate::model::address::Family;

/// What the kernel does with a packet to which a rule applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) conditions: Vec<Condition>,
    pub(super) effect: Option<Effect>,
    pub(super) verdict: Verdict,
}

/// A rule as it was read. A verdict map makes several of it.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) rules: Vec<Parsed>,
    pub(super) comment: Option<String>,
    /// Some expression is not one that the iptables programs write.
    pub(super) is_foreign_to_iptables: bool,
}

struct RuleReader<'a, D> {
    sets: &'a mut Sets<D>,
    table_family: u8,
    table: &'a str,
    context: Context<'a>,
    registers: Registers,
    conditions: Vec<Condition>,
    effect: Option<Effect>,
    verdict: Option<Verdict>,
    /// An expression is not known; it may accept or drop.
    may_decide: bool,
    reading: Reading,
}

/// Reads the expressions of a rule in a table.
pub(super) fn read<D: Dumps>(
    expressions: &[u8],
    (table_family, table): (u8, &str),
    context: Context<'_>,
    sets: &mut Sets<D>,
) -> Reading {
    let mut reader = RuleReader {
        sets,
        table_family,
        table,
        context,
        registers: Registers::default(),
        conditions: Vec::new(),
        effect: None,
        verdict: None,
        may_decide: false,
        reading: Reading::default(),
    };
    for expression in each(expressions).flatten() {
        let name = find(expression.1, 1).unwrap_or_default();
        let name = name.strip_suffix(&[0]).unwrap_or(name);
        let data = Data(find(expression.1, 2).unwrap_or_default());
        reader.reading.is_foreign_to_iptables |= !is_of_iptables(name, data);
        reader.expression(name, data);
        if reader.verdict.is_some() {
            break;
        }
    }
    let verdict = match reader.verdict {
        Some(verdict) => verdict,
        None if reader.may_decide => Verdict::Queue,
        None => Verdict::Continue,
    };
    let last = Parsed {
        conditions: reader.conditions,
        effect: reader.effect,
        verdict,
    };
    let has_verdict_map = !reader.reading.rules.is_empty();
    if !has_verdict_map || last.verdict != Verdict::Continue {
        reader.reading.rules.push(last);
    }
    reader.reading
}

impl<D: Dumps> RuleReader<'_, D> {
    fn expression(&mut self, name: &[u8], data: Data<'_>) {
        let (one, two) = (data.number(1), data.number(2));
        match name {
            b"payload" => {
                let length = data
                    .number(4)
                    .and_then(|length| usize::try_from(length).ok());
                let offset = data
                    .number(3)
                    .and_then(|offset| usize::try_from(offset).ok());
                if let (Some(to), Some(base), Some(offset), Some(length)) =
                    (one, two, offset, length)
                {
                    let field = Field::Payload { base, offset };
                    self.registers.load(to, length, field, false);
                }
            }
            b"meta" => self.meta(data),
            b"ct" => self.ct(data),
            b"fib" => {
                if let (Some(to), Some(result), Some(flags)) = (one, two, data.number(3)) {
                    self.registers
                        .load(to, 4, Field::Fib { result, flags }, true);
                }
            }
            b"immediate" => match (one, find(data.0, 2)) {
                (Some(to), Some(value)) if is_verdict(to) => {
                    self.verdict = find(value, 2)
                        .map(verdict)
                        .filter(|verdict| *verdict != Verdict::Continue);
                }
                (Some(to), _) => {
                    let value = data.value(2).unwrap_or_default().to_vec();
                    let field = Field::Constant(value.clone());
                    self.registers.load(to, value.len(), field, false);
                }
                _ => {}
            },
            b"bitwise" => self.bitwise(data),
            b"byteorder" => {
                if let (Some(from), Some(to)) = (one, two) {
                    self.registers.swap(from, to, data.number(4));
                }
            }
            b"cmp" => self.compare(data),
            b"range" => self.range(data),
            b"lookup" => self.lookup(data),
            b"limit" => self.limit(data.is_inverted(5)),
            b"connlimit" => self.limit(data.is_inverted(2)),
            b"dynset" => self.update(data),
            b"objref" => {
                // quotas, limits and SYN proxies decide
                if !matches!(one, Some(1 | 3 | 6..=9)) || find(data.0, 3).is_some() {
                    self.unknown();
                }
            }
            b"match" => self.xt_match(data),
            b"target" => self.xt_target(data),
            b"notrack" => self.effect = Some(Effect::NoTracking),
            b"reject" => self.verdict = Some(Verdict::Drop),
            b"queue" => self.verdict = Some(Verdict::Queue),
            b"masq" => self.verdict = Some(Verdict::Accept),
            b"redir" => self.rewrite(None, one),
            b"nat" if one == Some(1) => {
                let family = two.and_then(|number| u8::try_from(number).ok());
                if let Some(family) = family.and_then(family_of_table) {
                    self.add(vec![Condition::is(Test::Family(family))], false);
                }
                self.rewrite(data.number(3), data.number(5));
            }
            b"nat" => self.verdict = Some(Verdict::Accept),
            b"exthdr" if one.is_some() => {
                // an ordinary packet has no extension header, so the rule ends here
                if data.number(6).unwrap_or(0) == 0 && data.number(5).unwrap_or(0) == 0 {
                    self.conditions.push(Condition::is(Test::Never));
                }
                self.hide(one);
            }
            b"counter" | b"log" | b"last" | b"dup" | b"exthdr" | b"flow_offload" => {}
            b"socket" => self.hide(two),
            b"numgen" | b"rt" | b"osf" | b"tunnel" | b"xfrm" => self.hide(one),
            b"hash" => self.hide(two),
            b"synproxy" => self.verdict = Some(Verdict::Queue),
            _ => {
                self.unknown();
                self.may_decide = true;
            }
        }
    }

    fn unknown(&mut self) {
        self.conditions.push(Condition::unknown());
    }

    fn hide(&mut self, register: Option<u32>) {
        if let Some(register) = register {
            self.registers.hide(register, 16);
        }
    }

    fn meta(&mut self, data: Data<'_>) {
        const INTERFACE_NAMES: [u32; 6] = [6, 7, 17, 18, 26, 27];
        let Some(key) = data.number(2) else { return };
        if let Some(from) = data.number(3) {
            if key == META_MARK {
                self.effect = Some(self.mark_from(from));
            }
        } else if let Some(to) = data.number(1) {
            let (length, is_native) = match key {
                1 => (2, false),
                8 | 9 => (2, true),
                15 | 16 | 19 | 25 => (1, true),
                key if INTERFACE_NAMES.contains(&key) => (16, false),
                _ => (4, true),
            };
            self.registers.load(to, length, Field::Meta(key), is_native);
        }
    }

    fn mark_from(&self, register: u32) -> Effect {
        let unknown = Effect::UnknownMark { mask: u32::MAX };
        let Some(load) = self.registers.get(register) else {
            return unknown;
        };
        match &load.field {
            Field::Constant(value) if load.mask.is_empty() => {
                bytes::u32_at(value, 0).map_or(unknown, |value| Effect::Mark {
                    mask: u32::MAX,
                    value,
                })
            }
            Field::Meta(META_MARK) => {
                let kept = bytes::u32_at(&load.mask(4), 0).unwrap_or_default();
                let value = bytes::u32_at(&load.xor(4), 0).unwrap_or_default();
                if kept & value == 0 {
                    Effect::Mark { mask: !kept, value }
                } else {
                    Effect::UnknownMark {
                        mask: !kept | value,
                    }
                }
            }
            _ => unknown,
        }
    }

    fn ct(&mut self, data: Data<'_>) {
        if let (Some(to), Some(key)) = (data.number(1), data.number(2)) {
            let length = match key {
                1 | 7 | 10 => 1,
                11 | 12 => 2,
                13 | 21 | 22 => 16,
                _ => 4,
            };
            let is_reply = find(data.0, 3) == Some(&[1]);
            let is_native = !matches!(key, 11 | 12 | 19..=22);
            let field = Field::Ct { key, is_reply };
            self.registers.load(to, length, field, is_native);
        }
    }

    fn bitwise(&mut self, data: Data<'_>) {
        let (Some(from), Some(to)) = (data.number(1), data.number(2)) else {
            return;
        };
        let values = data.value(4).zip(data.value(5));
        match values.filter(|_| data.number(6).unwrap_or(0) == 0) {
            Some((mask, xor)) => self.registers.mask(from, to, mask, xor),
            None => self.hide(Some(to)),
        }
    }

    fn compare(&mut self, data: Data<'_>) {
        let Some(value) = data.value(3) else {
            return self.unknown();
        };
        let (lowest, highest) = (vec![0; value.len()], vec![0xff; value.len()]);
        let value = value.to_vec();
        let range = match data.number(2) {
            Some(0 | 1) => Some(Range::exactly(&value)),
            Some(2) => bytes::predecessor(&value).map(|last| Range {
                first: lowest,
                last,
            }),
            Some(3) => Some(Range {
                first: lowest,
                last: value,
            }),
            Some(4) => bytes::successor(&value).map(|first| Range {
                first,
                last: highest,
            }),
            Some(5) => Some(Range {
                first: value,
                last: highest,
            }),
            _ => return self.unknown(),
        };
        let ranges: Vec<Range> = range.into_iter().collect();
        self.test(data.number(1), &ranges, data.number(2) == Some(1));
    }

    fn range(&mut self, data: Data<'_>) {
        match data.value(3).zip(data.value(4)) {
            Some((first, last)) => {
                let range = Range {
                    first: first.to_vec(),
                    last: last.to_vec(),
                };
                self.test(data.number(1), &[range], data.number(2) == Some(1));
            }
            None => self.unknown(),
        }
    }

    /// Adds the condition that a register is in one of the ranges, or in none.
    fn test(&mut self, register: Option<u32>, ranges: &[Range], is_negated: bool) {
        let load = register.and_then(|register| self.registers.get(register));
        let conditions = match load {
            Some(load) => self.context.compare(load, ranges),
            None => vec![Condition::unknown()],
        };
        self.add(conditions, is_negated);
    }

    fn add(&mut self, conditions: Vec<Condition>, is_negated: bool) {
        if is_negated {
            self.conditions.push(none_of(conditions));
            return;
        }
        for condition in conditions {
            match &condition.test {
                Test::Family(family) if !condition.is_negated => {
                    self.context.family = Some(*family);
                }
                Test::Protocol(numbers) if !condition.is_negated => {
                    if let [number] = numbers.as_slice() {
                        self.context.protocol = Some(*number);
                    }
                }
                _ => {}
            }
            self.conditions.push(condition);
        }
    }

    fn lookup(&mut self, data: Data<'_>) {
        let set = self.sets.get(self.table_family, self.table, &data.text(1));
        let (Some(set), Some(register)) = (set, data.number(2)) else {
            self.unknown();
            return self.hide(data.number(3));
        };
        match data.number(3) {
            Some(to) if is_verdict(to) => self.verdict_map(&set, register),
            to => {
                let conditions = self.in_elements(&set, register, set.elements.iter());
                let conditions = match self.registers.key(register, set.key_length) {
                    Some(key) => lookup::in_set(&key, self.context, &set, conditions),
                    None => conditions,
                };
                if set.rest.is_none() {
                    self.add(conditions, data.is_inverted(5));
                }
                self.hide(to);
            }
        }
    }

    fn verdict_map(&mut self, set: &Arc<Set>, register: u32) {
        for element in &set.elements {
            let key = self.in_elements(set, register, [element].into_iter());
            self.push(key, element);
        }
        if let Some(rest) = &set.rest {
            let others = self.in_elements(set, register, set.elements.iter());
            self.push(vec![none_of(others)], rest);
        }
    }

    fn push(&mut self, key: Vec<Condition>, element: &Element) {
        self.reading.rules.push(Parsed {
            conditions: [self.conditions.clone(), key].concat(),
            effect: self.effect,
            verdict: element.verdict.clone().unwrap_or(Verdict::Queue),
        });
    }

    /// The conditions that together say: the key is one of the elements.
    fn in_elements<'e>(
        &self,
        set: &Set,
        register: u32,
        elements: impl Iterator<Item = &'e Element>,
    ) -> Vec<Condition> {
        match self.registers.key(register, set.key_length) {
            Some(key) => lookup::in_elements(&key, self.context, elements),
            None => vec![Condition::unknown()],
        }
    }

    /// An ordinary packet is below every limit: a rule for packets over it does not apply.
    fn limit(&mut self, is_for_packets_over_it: bool) {
        let test = Test::constant(!is_for_packets_over_it);
        self.conditions.push(Condition::is(test));
    }

    /// A set that packets fill may limit each of them.
    fn update(&mut self, data: Data<'_>) {
        if data.is_inverted(9) {
            self.unknown();
        }
        let one = find(data.0, 7).into_iter();
        let many = find(data.0, 10).into_iter();
        let many = many.flat_map(|list| each(list).flatten().map(|(_, inner)| inner));
        for expression in one.chain(many) {
            let inner = Data(find(expression, 2).unwrap_or_default());
            match find(expression, 1) {
                Some(b"limit\0") => self.limit(inner.is_inverted(5)),
                Some(b"connlimit\0") => self.limit(inner.is_inverted(2)),
                Some(b"quota\0") => self.unknown(),
                _ => {}
            }
        }
    }

    fn xt_match(&mut self, data: Data<'_>) {
        let name = data.text(1);
        let (revision, info) = (data.number(2).unwrap_or(0), find(data.0, 3));
        let info = info.unwrap_or_default();
        if name == "comment" {
            let end = info.iter().position(|byte| *byte == 0);
            let comment = info.get(..end.unwrap_or(info.len())).unwrap_or_default();
            self.reading.comment = Some(text(comment));
            return;
        }
        let family = self.context.family;
        let conditions = xtables::conditions(&name, revision, info, family)
            .unwrap_or_else(|| vec![Condition::unknown()]);
        self.add(conditions, false);
    }

    fn xt_target(&mut self, data: Data<'_>) {
        let (name, revision) = (data.text(1), data.number(2).unwrap_or(0));
        let info = find(data.0, 3).unwrap_or_default();
        if let Some(effect) = xtables::effect(&name, revision, info) {
            self.effect = Some(effect);
        }
        match xtables::verdict(&name, revision, info) {
            Some(Verdict::Continue) => {}
            Some(verdict) => self.verdict = Some(verdict),
            None => {
                self.unknown();
                self.verdict = Some(Verdict::Queue);
            }
        }
    }

    fn rewrite(&mut self, address: Option<u32>, port: Option<u32>) {
        let constant = |register: Option<u32>| match &self.registers.get(register?)?.field {
            Field::Constant(value) => Some(value.clone()),
            _ => None,
        };
        let port = constant(port).and_then(|bytes| bytes.first_chunk::<2>().copied());
        self.verdict = Some(Verdict::Rewrite(NewDestination {
            address: constant(address).and_then(|bytes| attributes::address(&bytes)),
            port: port.map(u16::from_be_bytes),
        }));
    }
}

fn none_of(mut conditions: Vec<Condition>) -> Condition {
    match conditions.len() {
        1 => conditions
            .pop()
            .map_or_else(Condition::unknown, Condition::negated),
        _ => Condition::is(Test::AnyOf(vec![conditions])).negated(),
    }
}

pub(super) fn family_of_table(number: u8) -> Option<Family> {
    match number {
        2 => Some(Family::V4),
        10 => Some(Family::V6),
        _ => None,
    }
}
