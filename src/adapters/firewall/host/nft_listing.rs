//! Reads what `nft -j list ruleset` prints (libnftables-json(5), schema 1) into chains.

use std::collections::BTreeMap;

use serde_json::Value;

use super::nft_match::{self, NamedSets};
use crate::core::host_rules::{Base, Chain, Condition, Hook, NewDestination, Rule, Table, Verdict};

#[derive(Debug, thiserror::Error)]
pub(crate) enum ListingError {
    #[error("it is not JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    #[error("it has no list \"nftables\"")]
    NoList,
}

pub(crate) fn read(output: &str) -> Result<Vec<Chain>, ListingError> {
    let listing: Value = serde_json::from_str(output)?;
    let objects = listing.get("nftables").and_then(Value::as_array);
    let objects = objects.ok_or(ListingError::NoList)?;
    let chains = objects.iter().map(|object| object.get("chain"));
    let mut chains: Vec<Chain> = chains.flatten().filter_map(chain).collect();
    let sets: NamedSets = objects.iter().filter_map(set).collect();
    let places: BTreeMap<(Table, String), usize> = chains
        .iter()
        .enumerate()
        .map(|(place, chain)| ((chain.table.clone(), chain.name.clone()), place))
        .collect();
    for object in objects.iter().filter_map(|object| object.get("rule")) {
        let Some(table) = table(object) else { continue };
        let name = text(object, "chain").to_owned();
        let rules = rules(object, &table, &sets);
        let place = places.get(&(table, name));
        if let Some(chain) = place.and_then(|place| chains.get_mut(*place)) {
            chain.rules.extend(rules);
        }
    }
    Ok(chains)
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Families that no IP packet passes are left out.
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

/// The elements of a named set or map. A set that packets fill lists none.
fn set(object: &Value) -> Option<((Table, String), Vec<Value>)> {
    let set = object.get("set").or_else(|| object.get("map"))?;
    let elements = set.get("elem").and_then(Value::as_array).cloned();
    let name = text(set, "name").to_owned();
    Some(((table(set)?, name), elements.unwrap_or_default()))
}

fn rules(object: &Value, table: &Table, sets: &NamedSets) -> Vec<Rule> {
    let handle = object.get("handle").and_then(Value::as_u64);
    let (handle, chain) = (handle.unwrap_or_default(), text(object, "chain"));
    let name = format!("the rule with handle {handle} of chain {chain}");
    let expressions = object.get("expr").and_then(Value::as_array);
    let mut conditions: Vec<Condition> = Vec::new();
    let mut rules = Vec::new();
    let rule = |conditions, verdict| Rule {
        conditions,
        verdict,
        name: name.clone(),
    };
    for expression in expressions.into_iter().flatten() {
        let Some((kind, body)) = entry(expression) else {
            continue;
        };
        match kind {
            "match" => conditions.extend(nft_match::conditions(body, table, sets)),
            "vmap" => {
                let key = body.get("key").unwrap_or(&Value::Null);
                for (value, verdict) in verdict_map(body.get("data"), table, sets) {
                    let test = serde_json::json!({ "op": "==", "left": key, "right": value });
                    let more = nft_match::conditions(&test, table, sets);
                    rules.push(rule([conditions.clone(), more].concat(), verdict));
                }
            }
            "limit" | "ct count" => conditions.push(nft_match::limit(body)),
            // A set that packets fill may limit each of them.
            "set" | "meter" => {
                let statements = match body.get("stmt") {
                    Some(Value::Array(list)) => list.as_slice(),
                    Some(one) => std::slice::from_ref(one),
                    None => &[],
                };
                conditions.extend(statements.iter().filter_map(|statement| {
                    let limit = statement.get("limit").or_else(|| statement.get("ct count"));
                    limit.map(nft_match::limit)
                }));
            }
            "xt" if text(body, "type") != "target" && text(body, "name") != "comment" => {
                conditions.push(Condition::unknown());
            }
            _ => {
                if let Some(verdict) = verdict(kind, body) {
                    rules.push(rule(conditions, verdict));
                    break;
                }
            }
        }
    }
    rules
}

fn entry(object: &Value) -> Option<(&str, &Value)> {
    let (key, value) = object.as_object()?.iter().next()?;
    Some((key, value))
}

fn verdict_map(data: Option<&Value>, table: &Table, sets: &NamedSets) -> Vec<(Value, Verdict)> {
    let elements = match data {
        Some(Value::String(name)) => nft_match::elements(name, table, sets),
        Some(data) => data.get("set").and_then(Value::as_array),
        None => None,
    };
    let pair = |element: &Value| {
        let (key, value) = (element.get(0)?, element.get(1)?);
        let (kind, body) = entry(value)?;
        Some((nft_match::plain(key).clone(), verdict(kind, body)?))
    };
    elements.into_iter().flatten().filter_map(pair).collect()
}

fn verdict(kind: &str, body: &Value) -> Option<Verdict> {
    let target = || text(body, "target").to_owned();
    let port = body.get("port").and_then(Value::as_u64);
    Some(match kind {
        "accept" => Verdict::Accept,
        "drop" | "reject" => Verdict::Drop,
        "jump" => Verdict::Jump(target()),
        "goto" => Verdict::Goto(target()),
        "return" => Verdict::Return,
        "queue" => Verdict::Queue,
        "dnat" | "redirect" => Verdict::Rewrite(NewDestination {
            address: text(body, "addr").parse().ok(),
            port: port.and_then(|port| port.try_into().ok()),
        }),
        _ => return None,
    })
}
