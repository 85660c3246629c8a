//! Lists tables, chains and rules, and puts them together.

use std::collections::{HashMap, HashSet};

use super::dump::{Dumps, Kind, Question};
use super::fields::Context;
use super::rule::{self, Reading};
use super::sets::Sets;
use crate::adapters::netlink::NetlinkError;
use crate::adapters::netlink::attributes::{each, find, text};
use crate::core::host_rules::{Base, Chain, Condition, Hook, Rule, Table, Test, Verdict};
use crate::model::address::Family;

// families in linux/netfilter.h
const INET: u8 = 1;
const NETDEV: u8 = 5;
const DORMANT: u32 = 1;
/// Others may change rules while they are read; then they are read again, this often at most.
const READS_MAX: u32 = 8;
/// Translation tables of Docker, Podman and libvirt are smaller; those of kube-proxy are larger, and publish no container.
const TRANSLATING_CHAINS_MAX: usize = 256;
const TABLES_OF_IPTABLES: [&str; 5] = ["filter", "nat", "mangle", "raw", "security"];
const CHAINS_OF_IPTABLES: [&str; 5] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];

/// Which tables to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::adapters::firewall::host) enum Scope {
    All,
    /// Those that decide what passes, and small ones that translate addresses.
    Filters,
}

/// What the reader must know about the host.
pub(in crate::adapters::firewall::host) struct Owners<'a> {
    /// The program that changes tables of iptables in nf_tables; `None` if there is none.
    pub(in crate::adapters::firewall::host) iptables: &'a dyn Fn(Family) -> Option<String>,
    /// The names of interfaces by index.
    pub(in crate::adapters::firewall::host) interfaces: HashMap<u32, String>,
}

/// Reads all chains. Where others change rules meanwhile, reads again.
pub(in crate::adapters::firewall::host) fn read_unchanged<D: Dumps>(
    open: impl Fn() -> Result<D, NetlinkError>,
    scope: Scope,
    owners: &Owners<'_>,
) -> Result<Vec<Chain>, NetlinkError> {
    let mut rules = open()?;
    for _ in 0..READS_MAX {
        let before = rules.generation()?;
        let chains = read(&mut rules, open()?, scope, owners)?;
        if rules.generation()? == before {
            return Ok(chains);
        }
    }
    Err(NetlinkError::Interrupted)
}

/// The chains of a recording; iptables is of the nft variant.
#[cfg(test)]
pub(crate) fn read_recording(recording: super::dump::Recording<'_>) -> Vec<Chain> {
    let owners = Owners {
        iptables: &|family| Some(family.pick("iptables", "ip6tables").to_owned()),
        interfaces: HashMap::from([(1, "lo".to_owned())]),
    };
    read(&mut recording.clone(), recording, Scope::All, &owners).unwrap()
}

/// The chains of one table and what is known about it.
struct TableReader<'a> {
    table: Table,
    number: u8,
    chains: Vec<Chain>,
    is_of_iptables: bool,
    interfaces: &'a HashMap<u32, String>,
}

/// Reads the rules from one source, and the sets that they look up from another.
fn read<D: Dumps>(
    source: &mut D,
    sets: D,
    scope: Scope,
    owners: &Owners<'_>,
) -> Result<Vec<Chain>, NetlinkError> {
    let mut sets = Sets::new(sets);
    let tables: Vec<(u8, String)> = source.dump(
        Question::all(Kind::Table),
        |tables: &mut Vec<_>, family, object| {
            let is_dormant = number(object, 2).unwrap_or(0) & DORMANT != 0;
            let name = find(object, 1).map(text).filter(|_| !is_dormant);
            tables.extend(name.map(|name| (family, name)));
        },
    )?;
    let mut chains: HashMap<(u8, String), Vec<Chain>> = source.dump(
        Question::all(Kind::Chain),
        |chains: &mut HashMap<_, Vec<_>>, family, object| {
            if let Some(chain) = chain(family, object) {
                let key = (family, chain.table.name.clone());
                chains.entry(key).or_default().push(chain);
            }
        },
    )?;
    let mut all = Vec::new();
    for (number, name) in tables {
        let Some((chains, family)) = chains.remove(&(number, name.clone())).zip(family(number))
        else {
            continue;
        };
        let is_filter = |chain: &Chain| chain.base.is_some_and(|base| !base.is_nat);
        let is_large = chains.len() > TRANSLATING_CHAINS_MAX;
        if scope == Scope::Filters && is_large && !chains.iter().any(is_filter) {
            continue;
        }
        let mut reader = TableReader {
            table: Table {
                program: "nft".to_owned(),
                family,
                name,
            },
            number,
            is_of_iptables: is_of_iptables(&chains),
            chains,
            interfaces: &owners.interfaces,
        };
        reader.rules(source, &mut sets)?;
        all.extend(reader.finished(owners));
    }
    Ok(all)
}

impl TableReader<'_> {
    /// Asks for each chain: the kernel's time for a whole table grows with the square of its rules.
    fn rules<D: Dumps>(&mut self, source: &mut D, sets: &mut Sets<D>) -> Result<(), NetlinkError> {
        let table = (self.number, self.table.name.as_str());
        let context = Context {
            family: rule::family_of_table(self.number),
            protocol: None,
            interfaces: self.interfaces,
        };
        for chain in &mut self.chains {
            let question = Question {
                part: Some(&chain.name),
                ..Question::of_table(Kind::Rule, table.0, table.1)
            };
            let (rules, is_foreign) = source.dump(
                question,
                |(rules, is_foreign): &mut (Vec<Rule>, bool), _, object| {
                    let expressions = find(object, 4).unwrap_or_default();
                    let reading = rule::read(expressions, table, context, sets);
                    *is_foreign |= reading.is_foreign_to_iptables;
                    rules.extend(rules_of(object, reading));
                },
            )?;
            chain.rules.extend(rules);
            self.is_of_iptables &= !is_foreign;
        }
        Ok(())
    }

    /// The chains with the program that changes them, and with names for the rules.
    fn finished(mut self, owners: &Owners<'_>) -> Vec<Chain> {
        let family = rule::family_of_table(self.number);
        let program = family
            .filter(|_| self.is_of_iptables)
            .and_then(|family| (owners.iptables)(family));
        self.table.program = program.unwrap_or_else(|| "nft".to_owned());
        for chain in &mut self.chains {
            chain.table = self.table.clone();
            let mut number = 0_usize;
            let mut last = 0;
            for rule in &mut chain.rules {
                number += usize::from(rule.handle != last);
                last = rule.handle;
                if last == 0 {
                    continue;
                }
                rule.name = if self.table.is_nft() {
                    format!("the rule with handle {last} of chain {}", chain.name)
                } else {
                    format!("rule {number} of chain {}", chain.name)
                };
            }
        }
        self.chains
    }
}

fn rules_of(object: &[u8], reading: Reading) -> impl Iterator<Item = Rule> {
    let handle = find(object, 3).and_then(|value| value.try_into().ok());
    let handle = handle.map_or(0, u64::from_be_bytes);
    let comment = reading.comment;
    let comment = comment.or_else(|| find(object, 7).and_then(comment_in));
    reading.rules.into_iter().map(move |parsed| Rule {
        conditions: parsed.conditions,
        effect: parsed.effect,
        verdict: parsed.verdict,
        name: String::new(),
        handle,
        comment: comment.clone(),
    })
}

/// libnftnl stores texts as type, length and value; a comment has type 0.
fn comment_in(userdata: &[u8]) -> Option<String> {
    let mut rest = userdata;
    while let [kind, length, more @ ..] = rest {
        let (value, behind) = more.split_at_checked(usize::from(*length))?;
        if *kind == 0 {
            return Some(text(value));
        }
        rest = behind;
    }
    None
}

pub(super) fn number(object: &[u8], kind: u16) -> Option<u32> {
    find(object, kind)?.try_into().ok().map(u32::from_be_bytes)
}

/// Families that no IP packet passes are left out.
pub(super) fn family(number: u8) -> Option<&'static str> {
    match number {
        INET => Some("inet"),
        2 => Some("ip"),
        NETDEV => Some("netdev"),
        10 => Some("ip6"),
        _ => None,
    }
}

fn chain(number_of_family: u8, object: &[u8]) -> Option<Chain> {
    let hook = find(object, 4).and_then(|hook| {
        let priority = number(hook, 2)?.cast_signed();
        Some(match (number_of_family, number(hook, 1)?) {
            // the ingress of a device is entered before all other hooks
            (NETDEV, 0) | (INET, 5) => (Hook::Prerouting, priority_of_ingress(priority)),
            (NETDEV, _) => return None,
            (_, 0) => (Hook::Prerouting, priority),
            (_, 1) => (Hook::Input, priority),
            (_, 2) => (Hook::Forward, priority),
            _ => return None,
        })
    });
    let name = text(find(object, 3)?);
    let drops = number(object, 5) == Some(0);
    let devices = find(object, 4).map(devices).unwrap_or_default();
    Some(Chain {
        table: Table {
            program: String::new(),
            family: family(number_of_family)?,
            name: text(find(object, 1)?),
        },
        rules: if devices.is_empty() {
            Vec::new()
        } else {
            vec![other_devices(devices, &name, drops)]
        },
        name,
        base: hook.map(|(hook, priority)| Base {
            hook,
            is_nat: find(object, 7) == Some(b"nat\0"),
            drops,
            priority,
        }),
    })
}

/// Below all priorities of the hooks behind, in the same order.
fn priority_of_ingress(priority: i32) -> i32 {
    const MIDDLE: i32 = i32::MIN / 2;
    MIDDLE.saturating_add(priority.clamp(MIDDLE / 2, -MIDDLE / 2))
}

/// The devices of an ingress chain.
fn devices(hook: &[u8]) -> Vec<String> {
    let one = find(hook, 3).map(text).into_iter();
    let many = find(hook, 4)
        .into_iter()
        .flat_map(|list| each(list).flatten());
    one.chain(many.map(|(_, name)| text(name))).collect()
}

/// Packets of other devices do not enter the chain.
fn other_devices(devices: Vec<String>, chain: &str, drops: bool) -> Rule {
    Rule {
        conditions: vec![Condition::is(Test::Interface(devices)).negated()],
        effect: None,
        verdict: if drops {
            Verdict::Accept
        } else {
            Verdict::Return
        },
        name: format!("the devices of chain {chain}"),
        handle: 0,
        comment: None,
    }
}

/// Whether iptables would know the base chains; its own tables have these names.
fn is_of_iptables(chains: &[Chain]) -> bool {
    let names: HashSet<&str> = chains
        .iter()
        .map(|chain| chain.table.name.as_str())
        .collect();
    names.iter().all(|name| TABLES_OF_IPTABLES.contains(name))
        && chains
            .iter()
            .filter(|chain| chain.base.is_some())
            .all(|chain| CHAINS_OF_IPTABLES.contains(&chain.name.as_str()))
}
