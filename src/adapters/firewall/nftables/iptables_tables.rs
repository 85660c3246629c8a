//! The tables of iptables (nft variant), read and cleaned without its programs.
//!
//! A single rule that only nft can show makes iptables refuse a whole table, for example after `nft -f` of a saved listing.
//! What Postern's iptables driver left must be removed all the same, also where iptables is no longer installed.

use std::collections::{BTreeMap, BTreeSet};

use rustix::io::Errno;

use super::kernel::Kernel;
use super::{errors, expressions, messages};
use crate::adapters::firewall::FirewallError;
use crate::adapters::netlink::attributes::{each, find, text};
use crate::adapters::netlink::{Message, NetlinkError};
use crate::model::address::Family;

/// The tables that the driver uses, and the base chains that iptables creates in them: name, hook, priority, type.
const TABLES: [(&str, &[BuiltIn]); 3] = [
    (
        "filter",
        &[
            ("INPUT", 1, 0, "filter"),
            ("FORWARD", 2, 0, "filter"),
            ("OUTPUT", 3, 0, "filter"),
        ],
    ),
    (
        "nat",
        &[
            ("PREROUTING", 0, -100, "nat"),
            ("INPUT", 1, 100, "nat"),
            ("OUTPUT", 3, -100, "nat"),
            ("POSTROUTING", 4, 100, "nat"),
        ],
    ),
    (
        "raw",
        &[
            ("PREROUTING", 0, -300, "filter"),
            ("OUTPUT", 3, -300, "filter"),
        ],
    ),
];
/// What earlier releases of Postern put into a table that they created.
const CREATED: [&str; 2] = ["POSTERN-NEW", "POSTERN-NEW-NAT"];
const OWN_CHAINS: [&str; 12] = [
    "POSTERN",
    "POSTERN-GRANTS",
    "POSTERN-FWD",
    "POSTERN-FWD-GRANTS",
    "POSTERN-MARK",
    "POSTERN-PROBE",
    "POSTERN-DNAT",
    "POSTERN-SNAT",
    "POSTERN-SENSOR",
    "POSTERN-SENSED",
    CREATED[0],
    CREATED[1],
];
/// An own table whose chains name what Postern made iptables create: `ip.filter`, `ip.filter.INPUT`. It disappears with
/// the rest of the ruleset, and other firewall tools leave it alone.
const NOTES: &str = "postern_created";

type BuiltIn = (&'static str, u32, i32, &'static str);
type Place = (Family, &'static str);

#[derive(Debug)]
struct Chain {
    name: String,
    /// As iptables creates it, with the policy accept.
    is_built_in: bool,
    drops: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Rule {
    handle: u64,
    jumps_to: Option<String>,
    /// It has no condition.
    is_bare: bool,
}

/// A chain of iptables and its rules. A rule is `None` if only its program knows how to write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedChain {
    pub(crate) table: &'static str,
    pub(crate) name: String,
    pub(crate) rules: Vec<Option<String>>,
}

/// Whether the iptables driver left chains in nf_tables.
pub(crate) fn has_own_chains() -> Result<bool, FirewallError> {
    let chains = chains(&mut Kernel::open()?)?;
    let mut names = chains.values().flatten().map(|chain| &*chain.name);
    Ok(names.any(|name| OWN_CHAINS.contains(&name)))
}

/// What iptables would show of the tables that the driver uses.
pub(crate) fn list(family: Family) -> Result<Vec<ListedChain>, FirewallError> {
    let mut kernel = Kernel::open()?;
    let mut listed = Vec::new();
    for (place, chains) in chains(&mut kernel)? {
        for chain in chains.into_iter().filter(|_| place.0 == family) {
            let rules = rules(&mut kernel, place, &chain.name)?.into_iter();
            let rules = rules.map(|rule| rule.jumps_to.filter(|_| rule.is_bare));
            listed.push(ListedChain {
                table: place.1,
                rules: rules.map(|to| to.map(|to| format!("-j {to}"))).collect(),
                name: chain.name,
            });
        }
    }
    Ok(listed)
}

/// Removes the driver's chains, all jumps to them, and what Postern made iptables create.
pub(crate) fn remove() -> Result<(), FirewallError> {
    let mut kernel = Kernel::open()?;
    let all = chains(&mut kernel)?;
    let (mut jumps, mut flushes, mut deletions) = (Vec::new(), Vec::new(), Vec::new());
    for (place, chains) in &all {
        let is_own = |name: &str| OWN_CHAINS.contains(&name);
        let (own, foreign): (Vec<_>, Vec<_>) = chains.iter().partition(|one| is_own(&one.name));
        if own.is_empty() {
            continue;
        }
        let number = expressions::family_number(place.0);
        for chain in foreign {
            let rules = rules(&mut kernel, *place, &chain.name)?.into_iter();
            let ours = rules.filter(|rule| rule.jumps_to.as_deref().is_some_and(is_own));
            jumps.extend(ours.map(|rule| {
                messages::delete_foreign_rule(number, place.1, &chain.name, rule.handle)
            }));
        }
        if own.iter().any(|one| CREATED.contains(&&*one.name)) {
            deletions.extend(note(*place, None));
            let built_in = chains.iter().filter(|one| one.is_built_in);
            deletions.extend(built_in.flat_map(|one| note(*place, Some(&one.name))));
        }
        for chain in own {
            flushes.push(messages::delete_rules_of(number, place.1, &chain.name));
            deletions.push(messages::delete_chain_of(number, place.1, &chain.name));
        }
    }
    let changes = jumps.into_iter().chain(flushes).chain(deletions);
    commit(
        &mut kernel,
        changes.collect(),
        "removing chains of iptables",
    )?;
    delete_created(&mut kernel, true)
}

/// Notes what does not exist yet, before iptables creates it. A note that is there costs no transaction: the kernel
/// would make the repair of a flushed table wait for it.
pub(crate) fn note_missing(family: Family, needed: &[&str]) -> Result<(), FirewallError> {
    let mut kernel = Kernel::open()?;
    let tables = tables(&mut kernel)?;
    let chains = chains(&mut kernel)?;
    let noted = notes(&mut kernel)?;
    let mut missing = Vec::new();
    let mut miss = |place, chain| {
        if !noted.contains(&note_name(place, chain)) {
            missing.extend(note(place, chain));
        }
    };
    for (table, built_in) in TABLES.iter().filter(|(name, _)| needed.contains(name)) {
        let place = (family, *table);
        if !tables.contains(&place) {
            miss(place, None);
        }
        let known = chains.get(&place);
        let exists =
            |name: &str| known.is_some_and(|known| known.iter().any(|one| one.name == name));
        let absent = built_in.iter().filter(|one| !exists(one.0));
        absent.for_each(|one| miss(place, Some(one.0)));
    }
    commit(&mut kernel, missing, "noting what iptables creates")
}

/// Deletes the empty tables and chains that Postern made iptables create.
pub(crate) fn delete_created_tables() -> Result<(), FirewallError> {
    delete_created(&mut Kernel::open()?, false)
}

/// What is in use belongs to those who use it; `forget` deletes the notes about it too.
fn delete_created(kernel: &mut Kernel, forget: bool) -> Result<(), FirewallError> {
    let notes = notes(kernel)?;
    if notes.is_empty() {
        return Ok(());
    }
    let (tables, chains) = (tables(kernel)?, chains(kernel)?);
    let (mut deletions, mut all_gone) = (Vec::new(), true);
    for place in tables {
        let number = expressions::family_number(place.0);
        let known = chains.get(&place).map(Vec::as_slice).unwrap_or_default();
        let mut left = known.len();
        for chain in known.iter().filter(|one| one.is_built_in || one.drops) {
            if !notes.contains(&note_name(place, Some(&chain.name))) {
                continue;
            }
            let is_empty = rules(kernel, place, &chain.name)?.is_empty();
            // A chain that drops is in use, no matter who created it.
            if is_empty && !chain.drops {
                deletions.push(messages::delete_chain_of(number, place.1, &chain.name));
                left = left.saturating_sub(1);
            } else {
                all_gone = false;
            }
        }
        if notes.contains(&note_name(place, None)) {
            if left == 0 && !has_sets(kernel, place)? {
                deletions.push(messages::delete_table_of(number, place.1));
            } else {
                all_gone = false;
            }
        }
    }
    if all_gone || forget {
        deletions.push(messages::delete_table_of(messages::NFPROTO_INET, NOTES));
    }
    commit(kernel, deletions, "deleting what iptables created")
}

fn notes(kernel: &mut Kernel) -> Result<BTreeSet<String>, FirewallError> {
    let question = messages::get_chains(messages::NFPROTO_INET);
    let names = kernel.dump(&question, |all: &mut Vec<_>, object| {
        if find(object, 1).map(text).as_deref() == Some(NOTES) {
            all.extend(find(object, 3).map(text));
        }
    });
    Ok(names.map_err(failed)?.into_iter().collect())
}

fn note_name((family, table): Place, chain: Option<&str>) -> String {
    let family = family.pick("ip", "ip6");
    match chain {
        Some(chain) => format!("{family}.{table}.{chain}"),
        None => format!("{family}.{table}"),
    }
}

fn note(place: Place, chain: Option<&str>) -> [Message; 2] {
    let name = note_name(place, chain);
    [
        messages::new_table_of(messages::NFPROTO_INET, NOTES),
        messages::new_chain_of(messages::NFPROTO_INET, NOTES, &name),
    ]
}

fn commit(kernel: &mut Kernel, changes: Vec<Message>, what: &str) -> Result<(), FirewallError> {
    if changes.is_empty() {
        return Ok(());
    }
    let done = kernel.transaction(changes);
    done.map_err(|error| errors::failed(&what, &error))
}

fn failed(error: NetlinkError) -> FirewallError {
    errors::failed(&"reading the tables of iptables", &error)
}

fn places() -> impl Iterator<Item = Place> {
    let tables = TABLES.iter().map(|(table, _)| *table);
    tables.flat_map(|table| Family::BOTH.map(|family| (family, table)))
}

fn tables(kernel: &mut Kernel) -> Result<Vec<Place>, FirewallError> {
    let mut found = Vec::new();
    for family in Family::BOTH {
        let number = expressions::family_number(family);
        let names: Vec<String> = kernel
            .dump(&messages::get_tables(number), |all: &mut Vec<_>, object| {
                all.extend(find(object, 1).map(text));
            })
            .map_err(failed)?;
        let own =
            places().filter(|(of, name)| *of == family && names.iter().any(|one| one == name));
        found.extend(own);
    }
    Ok(found)
}

fn chains(kernel: &mut Kernel) -> Result<BTreeMap<Place, Vec<Chain>>, FirewallError> {
    let mut all: BTreeMap<Place, Vec<Chain>> = BTreeMap::new();
    for family in Family::BOTH {
        let question = messages::get_chains(expressions::family_number(family));
        let found: Vec<(String, Chain)> = kernel
            .dump(&question, |all: &mut Vec<_>, object| {
                all.extend(chain(object))
            })
            .map_err(failed)?;
        for (table, chain) in found {
            if let Some(place) = places().find(|(of, name)| *of == family && *name == table) {
                all.entry(place).or_default().push(chain);
            }
        }
    }
    Ok(all)
}

fn chain(object: &[u8]) -> Option<(String, Chain)> {
    let (table, name) = (text(find(object, 1)?), text(find(object, 3)?));
    let hook = find(object, 4);
    let number = |within: Option<&[u8]>, kind| {
        Some(u32::from_be_bytes(find(within?, kind)?.try_into().ok()?))
    };
    let kind = find(object, 7).map(text);
    let expected = TABLES.iter().find(|(known, _)| *known == table);
    let is_standard = expected.is_some_and(|(_, built_in)| {
        built_in.iter().any(|(known, at, priority, of)| {
            name == *known
                && number(hook, 1) == Some(*at)
                && number(hook, 2) == Some(priority.cast_unsigned())
                && kind.as_deref() == Some(*of)
        })
    });
    let drops = hook.is_some() && number(Some(object), 5) == Some(0);
    let is_built_in = is_standard && !drops;
    Some((
        table,
        Chain {
            name,
            is_built_in,
            drops,
        },
    ))
}

fn rules(kernel: &mut Kernel, place: Place, chain: &str) -> Result<Vec<Rule>, FirewallError> {
    let number = expressions::family_number(place.0);
    let question = messages::get_rules_of(number, place.1, chain);
    let read = kernel.dump(&question, |all: &mut Vec<_>, object| {
        all.extend(rule(object))
    });
    match read {
        Err(error) if error.is_all(Errno::NOENT) => Ok(Vec::new()),
        read => read.map_err(failed),
    }
}

fn rule(object: &[u8]) -> Option<Rule> {
    let handle = u64::from_be_bytes(find(object, 3)?.try_into().ok()?);
    let (mut jumps_to, mut is_bare) = (None, true);
    for (_, expression) in each(find(object, 4).unwrap_or_default()).flatten() {
        match find(expression, 1).map(text).as_deref() {
            Some("counter") => {}
            Some("immediate") => {
                let data = find(expression, 2).and_then(|data| find(data, 2));
                let verdict = data.and_then(|data| find(data, 2));
                jumps_to = verdict.and_then(|verdict| find(verdict, 2)).map(text);
            }
            _ => is_bare = false,
        }
    }
    Some(Rule {
        handle,
        jumps_to,
        is_bare,
    })
}

fn has_sets(kernel: &mut Kernel, place: Place) -> Result<bool, FirewallError> {
    let question = messages::get_sets_of(expressions::family_number(place.0), place.1);
    let sets: Vec<()> = kernel
        .dump(&question, |all: &mut Vec<_>, _| all.push(()))
        .map_err(failed)?;
    Ok(!sets.is_empty())
}
