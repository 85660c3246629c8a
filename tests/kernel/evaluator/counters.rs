//! What the rules have counted, by the name that the evaluator gives them. Only rules that decide count.

use std::collections::{BTreeMap, HashMap};
use std::ops::AddAssign;

use postern_harness::Namespace;
use serde_json::Value;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

/// The rules of the nft tables of this family and name.
fn listed(gate: &Namespace, table: &str) -> Vec<Value> {
    let listing = gate.sh(&format!("nft -j list table inet {table}"));
    let listing: Value = serde_json::from_str(&listing).unwrap();
    let objects = listing["nftables"].as_array().unwrap().iter();
    objects
        .filter_map(|object| object.get("rule").cloned())
        .collect()
}

fn counter(rule: &Value) -> Option<Count> {
    let mut expressions = rule["expr"].as_array()?.iter();
    let counter = expressions.find_map(|expression| expression.get("counter"))?;
    Some(Count {
        packets: counter["packets"].as_u64()?,
        bytes: counter["bytes"].as_u64()?,
    })
}

/// What the only rule of a table has counted.
pub(super) fn of_table(gate: &Namespace, table: &str) -> Count {
    counter(&listed(gate, table)[0]).unwrap()
}

/// Accepts of the chains that are entered before the last base chain do not decide.
pub(super) fn of_nft_rules(gate: &Namespace) -> BTreeMap<String, Count> {
    let mut counts = BTreeMap::new();
    for rule in listed(gate, "t") {
        let chain = rule["chain"].as_str().unwrap();
        let expressions = rule["expr"].as_array().unwrap();
        let has = |name| expressions.iter().any(|one| one.get(name).is_some());
        let is_last = !chain.starts_with("early");
        if has("drop") || has("reject") || has("accept") && is_last {
            let name = format!(
                "the rule with handle {} of chain {chain} in nft table inet t",
                rule["handle"]
            );
            counts.insert(name, counter(&rule).unwrap());
        }
    }
    counts
}

pub(super) fn of_iptables_rules(gate: &Namespace, program: &str) -> BTreeMap<String, Count> {
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    // the plain name goes to the variant behind it
    let is_plain =
        gate.sh("iptables --version").contains("nf_tables") != program.contains("legacy");
    let shown = if is_plain { "iptables" } else { program };
    for line in gate.sh(&format!("{program}-save -c -t filter")).lines() {
        let Some((count, rule)) = line
            .strip_prefix('[')
            .and_then(|line| line.split_once("] -A "))
        else {
            continue;
        };
        let (chain, options) = rule.split_once(' ').unwrap_or((rule, ""));
        let number = numbers.entry(chain).or_default();
        *number += 1;
        let decides = ["ACCEPT", "DROP", "REJECT"]
            .iter()
            .any(|target| options.contains(&format!("-j {target}")));
        if !decides {
            continue;
        }
        let rule = if program.contains("legacy") {
            format!("the rule \"-A {rule}\" in {shown} table filter")
        } else {
            format!("rule {number} of chain {chain} in {shown} table filter")
        };
        let (packets, bytes) = count.split_once(':').unwrap();
        *counts.entry(rule).or_default() += Count {
            packets: packets.parse().unwrap(),
            bytes: bytes.parse().unwrap(),
        };
    }
    counts
}
