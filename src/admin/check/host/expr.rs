//! What one `match` expression of an nft rule asks.
//!
//! Pure. Owns the names of libnftables-json(5) for the things that decide about a new connection; all others are unknown.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde_json::Value;

use super::rules::{Condition, Family, Table, Test, protocol};

/// The elements of named sets and maps.
pub(super) type Named = BTreeMap<(Table, String), Vec<Value>>;

pub(super) fn unknown() -> Condition {
    Condition::is(Test::Unknown)
}

/// A limit is not yet reached: what is under it applies, what is over it does not.
pub(super) fn limited(body: &Value) -> Condition {
    let is_over = body.get("inv").and_then(Value::as_bool).unwrap_or_default();
    Condition::is(if is_over { Test::Never } else { Test::Always })
}

/// The elements of the set that `@name` names.
pub(super) fn elements<'a>(name: &str, table: &Table, named: &'a Named) -> Option<&'a Vec<Value>> {
    named.get(&(table.clone(), name.strip_prefix('@')?.to_owned()))
}

/// What a match asks: the protocol that its field belongs to, and the field itself.
pub(super) fn conditions(body: &Value, table: &Table, named: &Named) -> Vec<Condition> {
    let left = body.get("left").unwrap_or(&Value::Null);
    let op = body.get("op").and_then(Value::as_str).unwrap_or_default();
    let right = values(body.get("right").unwrap_or(&Value::Null), table, named);
    let mut conditions: Vec<Condition> = carrier(left).into_iter().map(Condition::is).collect();
    let test = if is_of_flags(left) {
        return [conditions, vec![flags(left, op, &right)]].concat();
    } else {
        test(left, &right)
    };
    let is_negated = match op {
        "==" | "in" => false,
        "!=" | "!" => true,
        _ => return [conditions, vec![unknown()]].concat(),
    };
    conditions.push(Condition { test, is_negated });
    conditions
}

/// A right side as a list; `None` for a set whose elements are not known.
fn values(right: &Value, table: &Table, named: &Named) -> Option<Vec<Value>> {
    let list = match right {
        Value::String(name) if name.starts_with('@') => elements(name, table, named)?.clone(),
        Value::Array(list) => list.clone(),
        object => object
            .get("set")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_else(|| vec![object.clone()]),
    };
    let plain = |value: Value| {
        value
            .get("elem")
            .and_then(|elem| elem.get("val"))
            .cloned()
            .unwrap_or(value)
    };
    Some(list.into_iter().map(plain).collect())
}

/// `(protocol, field)` of a payload expression, also below a mask.
fn payload(left: &Value) -> Option<(&str, &str)> {
    let payload = left
        .get("payload")
        .or_else(|| left.get("&")?.get(0)?.get("payload"))?;
    Some((
        payload.get("protocol")?.as_str()?,
        payload.get("field")?.as_str()?,
    ))
}

/// Naming a field of a protocol asks for that protocol too.
fn carrier(left: &Value) -> Option<Test> {
    match payload(left)?.0 {
        "ip" => Some(Test::Family(Family::V4)),
        "ip6" => Some(Test::Family(Family::V6)),
        "th" => None,
        name => protocol(name).map(|number| Test::Protocol(vec![number])),
    }
}

fn test(left: &Value, right: &Option<Vec<Value>>) -> Test {
    if let Some(parts) = left.get("concat").and_then(Value::as_array) {
        let is_of_few = parts
            .iter()
            .any(|part| payload(part).is_some_and(|(_, field)| field == "saddr"));
        return if is_of_few { Test::Few } else { Test::Unknown };
    }
    if let Some((protocol, field)) = payload(left) {
        return of_payload(protocol, field, left.get("&").is_some(), right);
    }
    let Some((kind, body)) = left.as_object().and_then(|object| object.iter().next()) else {
        return Test::Unknown;
    };
    let key = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    let words = || {
        right.as_ref().map(|list| {
            list.iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect::<Vec<String>>()
        })
    };
    match (kind.as_str(), key("key")) {
        ("meta", "iif" | "iifname") => words().map_or(Test::Unknown, Test::Interface),
        ("meta", "l4proto") => protocols(right),
        ("meta", "nfproto") => family(words(), "ipv4", "ipv6"),
        ("meta", "protocol") => family(words(), "ip", "ip6"),
        ("meta", "pkttype") => among(words(), "host"),
        ("meta" | "ct", "mark") => match right.as_deref() {
            Some([Value::Number(mark)]) if mark.as_u64() == Some(0) => Test::Always,
            _ => Test::Few,
        },
        ("ct", "state") => words().map_or(Test::Unknown, Test::State),
        ("ct", "status") => Test::Few,
        ("ct", "direction") => among(words(), "original"),
        ("fib", _) => fib(body, words(), right),
        // Below a mask: a mark that has the bits of few.
        ("&", _)
            if ["meta", "ct"]
                .iter()
                .any(|kind| body.get(0).and_then(|inner| inner.get(kind)).is_some()) =>
        {
            Test::Few
        }
        _ => Test::Unknown,
    }
}

fn of_payload(protocol: &str, field: &str, is_masked: bool, right: &Option<Vec<Value>>) -> Test {
    match (protocol, field) {
        (_, "saddr" | "sport") | ("ether" | "arp", _) => Test::Few,
        _ if is_masked => Test::Unknown,
        ("tcp" | "udp" | "th" | "sctp" | "udplite" | "dccp", "dport") => {
            let ranges = right
                .as_ref()
                .and_then(|list| list.iter().map(range).collect());
            ranges.map_or(Test::Unknown, Test::Port)
        }
        ("ip" | "ip6", "daddr") => {
            let networks = right
                .as_ref()
                .and_then(|list| list.iter().map(network).collect());
            networks.map_or(Test::Unknown, Test::Destination)
        }
        ("ip", "protocol") | ("ip6", "nexthdr") => protocols(right),
        ("icmp", "type") => echo(right, 8),
        ("icmpv6", "type") => echo(right, 128),
        _ => Test::Unknown,
    }
}

fn range(value: &Value) -> Option<(u16, u16)> {
    let port = |value: &Value| value.as_u64().and_then(|number| u16::try_from(number).ok());
    match value.get("range") {
        Some(range) => Some((port(range.get(0)?)?, port(range.get(1)?)?)),
        None => port(value).map(|port| (port, port)),
    }
}

fn network(value: &Value) -> Option<IpNet> {
    match value.get("prefix") {
        Some(prefix) => IpNet::new(
            prefix.get("addr")?.as_str()?.parse().ok()?,
            u8::try_from(prefix.get("len")?.as_u64()?).ok()?,
        )
        .ok(),
        None => value
            .as_str()?
            .parse()
            .ok()
            .map(|address: std::net::IpAddr| address.into()),
    }
}

fn protocols(right: &Option<Vec<Value>>) -> Test {
    let number = |value: &Value| match value {
        Value::String(name) => protocol(name),
        value => value.as_u64().and_then(|number| u8::try_from(number).ok()),
    };
    right
        .as_ref()
        .and_then(|list| list.iter().map(number).collect())
        .map_or(Test::Unknown, Test::Protocol)
}

fn family(words: Option<Vec<String>>, v4: &str, v6: &str) -> Test {
    let Some(words) = words else {
        return Test::Unknown;
    };
    let has = |name: &str| words.iter().any(|word| word == name);
    match (has(v4), has(v6)) {
        (true, true) => Test::Always,
        (true, false) => Test::Family(Family::V4),
        (false, true) => Test::Family(Family::V6),
        (false, false) => Test::Never,
    }
}

/// Of a thing that every ordinary packet to this host is.
fn among(words: Option<Vec<String>>, usual: &str) -> Test {
    words.map_or(Test::Unknown, |words| {
        if words.iter().any(|word| word == usual) {
            Test::Always
        } else {
            Test::Never
        }
    })
}

fn echo(right: &Option<Vec<Value>>, number: u64) -> Test {
    let is_echo =
        |value: &Value| value.as_str() == Some("echo-request") || value.as_u64() == Some(number);
    right.as_ref().map_or(Test::Unknown, |list| {
        if list.iter().any(is_echo) {
            Test::Always
        } else {
            Test::Never
        }
    })
}

/// The destination is this host's, and the way back to the source exists.
fn fib(body: &Value, words: Option<Vec<String>>, right: &Option<Vec<Value>>) -> Test {
    let asks_of = |flag: &str| {
        body.get("flags")
            .and_then(Value::as_array)
            .is_some_and(|flags| flags.iter().any(|known| known == flag))
    };
    match body.get("result").and_then(Value::as_str) {
        Some("type") if asks_of("daddr") => among(words, "local"),
        Some("type") if asks_of("saddr") => among(words, "unicast"),
        Some("oif" | "oifname" | "check") if asks_of("saddr") => match right.as_deref() {
            Some([Value::Bool(exists)]) => {
                if *exists {
                    Test::Always
                } else {
                    Test::Never
                }
            }
            Some([Value::Number(index)]) if index.as_u64() == Some(0) => Test::Never,
            _ => Test::Unknown,
        },
        _ => Test::Unknown,
    }
}

fn is_of_flags(left: &Value) -> bool {
    payload(left) == Some(("tcp", "flags"))
}

/// `flags & mask == set`; without a mask, `in` asks for any of the flags, `!` for none of them, `==` for exactly these.
fn flags(left: &Value, op: &str, right: &Option<Vec<Value>>) -> Condition {
    let names = |value: &Value| -> Option<Vec<String>> {
        match value {
            Value::Array(list) => list
                .iter()
                .map(|flag| flag.as_str().map(str::to_owned))
                .collect(),
            Value::Object(object) => object
                .get("|")?
                .as_array()?
                .iter()
                .map(|flag| flag.as_str().map(str::to_owned))
                .collect(),
            Value::Number(number) if number.as_u64() == Some(0) => Some(Vec::new()),
            value => value.as_str().map(|flag| vec![flag.to_owned()]),
        }
    };
    let asked = right
        .as_ref()
        .and_then(|list| list.iter().map(names).collect::<Option<Vec<_>>>())
        .map(|lists| lists.concat());
    let mask = match left.get("&") {
        Some(parts) => parts.get(1).and_then(names),
        None => Some(
            ["fin", "syn", "rst", "psh", "ack", "urg"]
                .map(str::to_owned)
                .to_vec(),
        ),
    };
    let (Some(asked), Some(mask)) = (asked, mask) else {
        return unknown();
    };
    match op {
        "==" => Condition::is(Test::Flags { mask, set: asked }),
        "!=" => Condition {
            test: Test::Flags { mask, set: asked },
            is_negated: true,
        },
        "!" => Condition::is(Test::Flags {
            mask: asked,
            set: Vec::new(),
        }),
        "in" => Condition {
            test: Test::Flags {
                mask: asked,
                set: Vec::new(),
            },
            is_negated: true,
        },
        _ => unknown(),
    }
}
