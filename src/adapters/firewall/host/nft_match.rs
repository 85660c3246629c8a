//! What one `match` expression of an nft rule tests.
//!
//! Knows the expressions of libnftables-json(5) that decide about a new connection. All others are unknown.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use crate::core::host_rules::{Condition, Table, Test, protocol_number};
use crate::model::address::Family;

pub(super) type NamedSets = BTreeMap<(Table, String), Vec<Value>>;

pub(super) const ALL_FLAGS: [&str; 6] = ["fin", "syn", "rst", "psh", "ack", "urg"];

/// An ordinary packet is below every limit: a rule for packets over it does not apply.
pub(super) fn limit(body: &Value) -> Condition {
    let is_over = body.get("inv").and_then(Value::as_bool).unwrap_or_default();
    Condition::is(Test::constant(!is_over))
}

pub(super) fn elements<'a>(
    name: &str,
    table: &Table,
    sets: &'a NamedSets,
) -> Option<&'a Vec<Value>> {
    sets.get(&(table.clone(), name.strip_prefix('@')?.to_owned()))
}

pub(super) fn plain(element: &Value) -> &Value {
    element
        .get("elem")
        .and_then(|elem| elem.get("val"))
        .unwrap_or(element)
}

pub(super) fn conditions(body: &Value, table: &Table, sets: &NamedSets) -> Vec<Condition> {
    let left = body.get("left").unwrap_or(&Value::Null);
    let op = body.get("op").and_then(Value::as_str).unwrap_or_default();
    let right = values(body.get("right").unwrap_or(&Value::Null), table, sets);
    let condition = if payload(left) == Some(("tcp", "flags")) {
        flags(left, op, right.as_deref()).unwrap_or_else(Condition::unknown)
    } else {
        match op {
            "==" | "in" | "!=" | "!" => Condition {
                test: test(left, right.as_deref()).unwrap_or(Test::Unknown),
                is_negated: op.starts_with('!'),
            },
            _ => Condition::unknown(),
        }
    };
    let protocol = protocol_of_field(left).map(Condition::is);
    protocol.into_iter().chain([condition]).collect()
}

/// A right side as a list; `None` if the elements of a set are not known.
fn values(right: &Value, table: &Table, sets: &NamedSets) -> Option<Vec<Value>> {
    let list = match right {
        Value::String(name) if name.starts_with('@') => elements(name, table, sets)?.as_slice(),
        Value::Array(list) => list.as_slice(),
        one => match one.get("set") {
            Some(Value::Array(list)) => list.as_slice(),
            _ => std::slice::from_ref(one),
        },
    };
    Some(list.iter().map(|value| plain(value).clone()).collect())
}

/// `(protocol, field)` of a payload expression, also of a masked one.
fn payload(left: &Value) -> Option<(&str, &str)> {
    let payload = left
        .get("payload")
        .or_else(|| left.get("&")?.get(0)?.get("payload"))?;
    let part = |key| payload.get(key).and_then(Value::as_str);
    Some((part("protocol")?, part("field")?))
}

fn protocol_of_field(left: &Value) -> Option<Test> {
    match payload(left)?.0 {
        "ip" => Some(Test::Family(Family::V4)),
        "ip6" => Some(Test::Family(Family::V6)),
        "th" => None,
        name => protocol_number(name).map(|number| Test::Protocol(vec![number])),
    }
}

fn test(left: &Value, right: Option<&[Value]>) -> Option<Test> {
    if let Some(parts) = left.get("concat").and_then(Value::as_array) {
        let names_source = |part| payload(part).is_some_and(|(_, field)| field == "saddr");
        return parts.iter().any(names_source).then_some(Test::Few);
    }
    if let Some(payload) = payload(left) {
        return payload_test(payload, left.get("&").is_some(), right);
    }
    let (kind, body) = left.as_object()?.iter().next()?;
    let key = body.get("key").and_then(Value::as_str).unwrap_or_default();
    match (kind.as_str(), key) {
        ("meta", "iif" | "iifname") => Some(Test::Interface(words(right?))),
        ("meta", "l4proto") => protocols(right?),
        ("meta", "nfproto") => Some(family(&words(right?), "ipv4", "ipv6")),
        ("meta", "protocol") => Some(family(&words(right?), "ip", "ip6")),
        ("meta", "pkttype") => Some(is_usual(right?, "host")),
        ("meta" | "ct", "mark") => {
            let is_zero = matches!(right, Some([mark]) if mark.as_u64() == Some(0));
            Some(if is_zero { Test::Always } else { Test::Few })
        }
        ("ct", "state") => Some(Test::State(words(right?))),
        ("ct", "status") => Some(Test::Few),
        ("ct", "direction") => Some(is_usual(right?, "original")),
        ("fib", _) => fib(body, right?),
        // A masked mark.
        ("&", _) => {
            let inner = body.get(0)?;
            (inner.get("meta").is_some() || inner.get("ct").is_some()).then_some(Test::Few)
        }
        _ => None,
    }
}

fn payload_test(payload: (&str, &str), is_masked: bool, right: Option<&[Value]>) -> Option<Test> {
    match payload {
        (_, "saddr" | "sport") | ("ether" | "arp", _) => Some(Test::Few),
        _ if is_masked => None,
        ("tcp" | "udp" | "th" | "sctp" | "udplite" | "dccp", "dport") => {
            let ranges: Option<_> = right?.iter().map(port_range).collect();
            ranges.map(Test::Port)
        }
        ("ip" | "ip6", "daddr") => {
            let networks: Option<_> = right?.iter().map(network).collect();
            networks.map(Test::Destination)
        }
        ("ip", "protocol") | ("ip6", "nexthdr") => protocols(right?),
        ("icmp", "type") => Some(echo_request(right?, 8)),
        ("icmpv6", "type") => Some(echo_request(right?, 128)),
        _ => None,
    }
}

fn words(values: &[Value]) -> Vec<String> {
    let words = values.iter().filter_map(Value::as_str);
    words.map(str::to_owned).collect()
}

fn port_range(value: &Value) -> Option<(u16, u16)> {
    let port = |value: &Value| u16::try_from(value.as_u64()?).ok();
    match value.get("range") {
        Some(range) => Some((port(range.get(0)?)?, port(range.get(1)?)?)),
        None => port(value).map(|port| (port, port)),
    }
}

fn network(value: &Value) -> Option<IpNet> {
    let Some(prefix) = value.get("prefix") else {
        return value.as_str()?.parse::<IpAddr>().ok().map(IpNet::from);
    };
    let length = u8::try_from(prefix.get("len")?.as_u64()?).ok()?;
    IpNet::new(prefix.get("addr")?.as_str()?.parse().ok()?, length).ok()
}

fn protocols(right: &[Value]) -> Option<Test> {
    let number = |value: &Value| match value {
        Value::String(name) => protocol_number(name),
        value => u8::try_from(value.as_u64()?).ok(),
    };
    let numbers: Option<_> = right.iter().map(number).collect();
    numbers.map(Test::Protocol)
}

fn family(words: &[String], v4: &str, v6: &str) -> Test {
    let has = |name: &str| words.iter().any(|word| word == name);
    match (has(v4), has(v6)) {
        (true, true) => Test::Always,
        (true, false) => Test::Family(Family::V4),
        (false, true) => Test::Family(Family::V6),
        (false, false) => Test::Never,
    }
}

/// A property whose usual value every ordinary packet to this host has.
fn is_usual(right: &[Value], usual: &str) -> Test {
    Test::constant(right.iter().any(|value| value.as_str() == Some(usual)))
}

fn echo_request(right: &[Value], number: u64) -> Test {
    let is_request =
        |value: &Value| value.as_str() == Some("echo-request") || value.as_u64() == Some(number);
    Test::constant(right.iter().any(is_request))
}

/// Tests whether the destination is this host, or whether a route back to the source exists.
fn fib(body: &Value, right: &[Value]) -> Option<Test> {
    let flags = body.get("flags").and_then(Value::as_array);
    let tests = |name: &str| flags.is_some_and(|flags| flags.iter().any(|flag| flag == name));
    match body.get("result").and_then(Value::as_str)? {
        "type" if tests("daddr") => Some(is_usual(right, "local")),
        "type" if tests("saddr") => Some(is_usual(right, "unicast")),
        "oif" | "oifname" | "check" if tests("saddr") => match right {
            [Value::Bool(exists)] => Some(Test::constant(*exists)),
            [index] if index.as_u64() == Some(0) => Some(Test::Never),
            _ => None,
        },
        _ => None,
    }
}

/// `flags & mask == set`. Without a mask, `==` tests for exactly these flags, `in` for any of them, `!` for none of them.
fn flags(left: &Value, op: &str, right: Option<&[Value]>) -> Option<Condition> {
    let names = |list: &[Value]| -> Option<Vec<String>> {
        let name = |flag: &Value| flag.as_str().map(str::to_owned);
        list.iter().map(name).collect()
    };
    let flags_of = |value: &Value| match value {
        Value::Array(list) => names(list),
        Value::Object(object) => names(object.get("|")?.as_array()?),
        value if value.as_u64() == Some(0) => Some(Vec::new()),
        value => names(std::slice::from_ref(value)),
    };
    let named: Option<Vec<_>> = right?.iter().map(flags_of).collect();
    let named = named?.concat();
    let mask = match left.get("&") {
        Some(parts) => flags_of(parts.get(1)?)?,
        None => ALL_FLAGS.map(str::to_owned).to_vec(),
    };
    let (mask, set, is_negated) = match op {
        "==" => (mask, named, false),
        "!=" => (mask, named, true),
        "!" => (named, Vec::new(), false),
        "in" => (named, Vec::new(), true),
        _ => return None,
    };
    let test = Test::Flags { mask, set };
    Some(Condition { test, is_negated })
}
