//! Reads what `nft -j list ruleset` prints (libnftables-json(5), schema 1) into chains.
//!
//! Pure. Tables that a save program of iptables shows better can be left out by the caller; what one expression of a rule asks is `expr`'s.

use std::collections::BTreeMap;

use serde_json::Value;

use super::expr::{self, Named};
use super::rules::{Base, Chain, Condition, Hook, Rule, Table, To, Verdict};

/// Reads a listing.
///
/// # Errors
/// Where it is not such a listing.
pub(super) fn read(output: &str) -> Result<Vec<Chain>, String> {
    let listing: Value =
        serde_json::from_str(output).map_err(|error| format!("it is not JSON: {error}"))?;
    let objects = listing
        .get("nftables")
        .and_then(Value::as_array)
        .ok_or("it has no list \"nftables\"")?;
    let mut chains: Vec<Chain> = objects
        .iter()
        .filter_map(|object| chain(object.get("chain")?))
        .collect();
    let named: Named = objects.iter().filter_map(set).collect();
    let places: BTreeMap<(Table, String), usize> = chains
        .iter()
        .enumerate()
        .map(|(place, chain)| ((chain.table.clone(), chain.name.clone()), place))
        .collect();
    for object in objects {
        if let Some(rule) = object.get("rule") {
            add(&mut chains, &places, rule, &named);
        }
    }
    Ok(chains)
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Families that no IP packet to this host passes as such are left out.
fn table(object: &Value) -> Option<Table> {
    let family = match text(object, "family") {
        "ip" => "ip",
        "ip6" => "ip6",
        "inet" => "inet",
        _ => return None,
    };
    Some(Table {
        program: "nft".to_owned(),
        family,
        name: text(object, "table").to_owned(),
    })
}

fn chain(object: &Value) -> Option<Chain> {
    let hook = match text(object, "hook") {
        "prerouting" => Some(Hook::Prerouting),
        "input" => Some(Hook::Input),
        "forward" => Some(Hook::Forward),
        _ => None,
    };
    let base = hook.map(|hook| Base {
        hook,
        is_nat: text(object, "type") == "nat",
        drops: text(object, "policy") == "drop",
    });
    Some(Chain {
        table: table(object)?,
        name: text(object, "name").to_owned(),
        base,
        rules: Vec::new(),
    })
}

/// A named set's or map's elements; one that packets fill has none here.
fn set(object: &Value) -> Option<((Table, String), Vec<Value>)> {
    let set = object.get("set").or_else(|| object.get("map"))?;
    let elements = set
        .get("elem")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    Some(((table(set)?, text(set, "name").to_owned()), elements))
}

fn add(
    chains: &mut [Chain],
    places: &BTreeMap<(Table, String), usize>,
    object: &Value,
    named: &Named,
) {
    let (Some(table), name) = (table(object), text(object, "chain")) else {
        return;
    };
    let Some(chain) = places
        .get(&(table.clone(), name.to_owned()))
        .and_then(|place| chains.get_mut(*place))
    else {
        return;
    };
    let handle = object
        .get("handle")
        .and_then(Value::as_u64)
        .unwrap_or_default();
    let name = format!("the rule with handle {handle} of chain {name}");
    let expressions = object
        .get("expr")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    chain
        .rules
        .extend(
            rules(expressions, &table, named)
                .into_iter()
                .map(|(conditions, verdict)| Rule {
                    conditions,
                    verdict,
                    name: name.clone(),
                }),
        );
}

/// One rule; several where a map holds the verdicts.
fn rules(expressions: &[Value], table: &Table, named: &Named) -> Vec<(Vec<Condition>, Verdict)> {
    let mut conditions = Vec::new();
    let mut rules = Vec::new();
    for expression in expressions {
        let Some((kind, body)) = expression
            .as_object()
            .and_then(|object| object.iter().next())
        else {
            continue;
        };
        match kind.as_str() {
            "match" => conditions.extend(expr::conditions(body, table, named)),
            "vmap" => {
                let key = body.get("key").unwrap_or(&Value::Null);
                for (asked, verdict) in pairs(body.get("data"), table, named) {
                    let question = serde_json::json!({ "op": "==", "left": key, "right": asked });
                    let mut all: Vec<Condition> = conditions.clone();
                    all.extend(expr::conditions(&question, table, named));
                    rules.push((all, verdict));
                }
            }
            "limit" | "ct count" => conditions.push(expr::limited(body)),
            // A set that packets fill may limit each of them.
            "set" | "meter" => {
                let limits = body.get("stmt").map(|stmt| {
                    stmt.as_array()
                        .cloned()
                        .unwrap_or_else(|| vec![stmt.clone()])
                });
                let limits = limits
                    .into_iter()
                    .flatten()
                    .filter_map(|stmt| stmt.get("limit").or_else(|| stmt.get("ct count")).cloned());
                conditions.extend(limits.map(|limit| expr::limited(&limit)));
            }
            "xt" if text(body, "type") != "target" && text(body, "name") != "comment" => {
                conditions.push(expr::unknown())
            }
            _ => {
                if let Some(verdict) = verdict(kind, body) {
                    rules.push((conditions, verdict));
                    return rules;
                }
            }
        }
    }
    rules
}

fn pairs(data: Option<&Value>, table: &Table, named: &Named) -> Vec<(Value, Verdict)> {
    let empty = Vec::new();
    let elements = match data {
        Some(Value::String(name)) => expr::elements(name, table, named).unwrap_or(&empty),
        Some(data) => data.get("set").and_then(Value::as_array).unwrap_or(&empty),
        None => &empty,
    };
    let pair = |element: &Value| {
        let (key, value) = (element.get(0)?, element.get(1)?);
        let (kind, body) = value.as_object()?.iter().next()?;
        // An element may carry a comment or a counter beside its value.
        let key = key
            .get("elem")
            .and_then(|elem| elem.get("val"))
            .unwrap_or(key);
        Some((key.clone(), verdict(kind, body)?))
    };
    elements.iter().filter_map(pair).collect()
}

fn verdict(kind: &str, body: &Value) -> Option<Verdict> {
    let target = || text(body, "target").to_owned();
    Some(match kind {
        "accept" => Verdict::Accept,
        "drop" | "reject" => Verdict::Drop,
        "jump" => Verdict::Jump(target()),
        "goto" => Verdict::Goto(target()),
        "return" => Verdict::Return,
        "queue" => Verdict::Queue,
        "dnat" | "redirect" => Verdict::Redirect(to(body)),
        _ => return None,
    })
}

fn to(body: &Value) -> To {
    let port = body
        .get("port")
        .and_then(Value::as_u64)
        .and_then(|port| u16::try_from(port).ok());
    To {
        address: text(body, "addr").parse().ok(),
        port,
    }
}

/// The tables that a listing shows, without those that a save program showed whole.
pub(super) fn without(
    chains: Vec<Chain>,
    shown: &BTreeMap<&'static str, Vec<String>>,
) -> Vec<Chain> {
    let is_shown = |chain: &Chain| {
        shown
            .get(chain.table.family)
            .is_some_and(|names| names.contains(&chain.table.name))
    };
    chains
        .into_iter()
        .filter(|chain| !is_shown(chain))
        .collect()
}
