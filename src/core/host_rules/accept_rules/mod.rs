//! The rules of Postern in the host's own chains: which are needed, which are there, and what to change.
//!
//! Each accepts one service of packets that have the packet mark. Its comment says all of that, so that the rules can be
//! compared, and removed later, whatever the config says by then.

use std::collections::BTreeSet;

use super::accept_rule::{AcceptRule, PortOf, own, rules_of_host};
use super::judgement::Judgement;
use super::packet::Packet;
use super::places::{Place, Unavoidable};
use super::rules::{Base, Hook, Ruleset, Table, Verdict};
use crate::model::address::Family;
use crate::model::packet_mark::PacketMark;
use crate::model::service::Ports;

/// The priority of the chains in which the nftables driver marks granted packets and drops strangers'.
pub(crate) const MARKING_PRIORITY: i32 = -10;

/// The most rules at one place; more services are joined to one range for each protocol.
const RULES_MAX: usize = 16;

/// What grants must open in one hook.
pub(crate) struct Opening<'a> {
    pub(crate) hook: Hook,
    pub(crate) port: PortOf,
    pub(crate) services: &'a [Ports],
    /// Granted packets, as strangers' interfaces receive them.
    pub(crate) packets: &'a [Packet<'a>],
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) table: Table,
    pub(crate) chain: String,
    pub(crate) rule: AcceptRule,
    pub(crate) action: Action,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    Insert {
        /// The rule that follows; 0 at the end of the chain, or if rules have no handles.
        before_handle: u64,
        /// The rule's number in its chain, counted from 1, after the deletions.
        number: usize,
        is_last: bool,
    },
    Delete {
        handle: u64,
    },
}

/// The changes after which granted packets pass all chains of the host. Deletions come first, then the last rules of a chain first.
pub(crate) fn changes(
    ruleset: &Ruleset,
    mark: PacketMark,
    openings: &[Opening<'_>],
) -> Result<Vec<Change>, Unavoidable> {
    let mut wanted: BTreeSet<(Place, AcceptRule)> = BTreeSet::new();
    for opening in openings {
        for place in ruleset.accept_places(opening.hook, mark, opening.packets, |_| true)? {
            let table = ruleset.chains.get(place.chain).map(|chain| &chain.table);
            let services = bounded(opening.services);
            let rules = services
                .into_iter()
                .filter(|service| table.is_some_and(|table| sees(table, *service)))
                .map(|service| {
                    let port = opening.port;
                    let rule = AcceptRule {
                        service,
                        port,
                        mark,
                    };
                    (place, rule)
                });
            wanted.extend(rules);
        }
    }
    let mut changes = Vec::new();
    let mut present = BTreeSet::new();
    let mut kept: Vec<Place> = Vec::new();
    for (place, rule, handle) in own_rules(ruleset, mark) {
        let of_chain = (place, rule)..=(place.at_end(), rule);
        let mut candidates = wanted.range(of_chain).filter(|(_, other)| *other == rule);
        let found = candidates.find(|(other, _)| is_same_place(ruleset, mark, place, *other));
        if found.is_some_and(|found| present.insert(*found)) {
            kept.push(place);
        } else {
            changes.extend(change(ruleset, place, rule, Action::Delete { handle }));
        }
    }
    for (place, rule) in wanted
        .iter()
        .rev()
        .filter(|wanted| !present.contains(*wanted))
    {
        let chain = ruleset.chains.get(place.chain);
        let next = chain.and_then(|chain| rules_of_host(chain, mark).nth(place.index));
        let own_before = kept
            .iter()
            .filter(|other| other.chain == place.chain && other.index < place.index)
            .count();
        let action = Action::Insert {
            before_handle: next.map_or(0, |rule| rule.handle),
            number: place.index.saturating_add(own_before).saturating_add(1),
            is_last: next.is_none(),
        };
        changes.extend(change(ruleset, *place, *rule, action));
    }
    Ok(changes)
}

/// Whether granted packets fare the same if they are accepted at `earlier`: in between, no rule drops anybody. Others
/// append rules that accept, and a rule that moved behind each of them would be written all the time.
fn is_same_place(ruleset: &Ruleset, mark: PacketMark, earlier: Place, later: Place) -> bool {
    let between = later.index.saturating_sub(earlier.index);
    let chain = ruleset.chains.get(earlier.chain);
    let rules = chain
        .into_iter()
        .flat_map(|chain| rules_of_host(chain, mark));
    let mut rules = rules.skip(earlier.index).take(between);
    rules.all(|rule| rule.verdict == Verdict::Accept && rule.effect.is_none())
}

/// Whether a chain of the host drops granted packets before or at [`MARKING_PRIORITY`], where they have no mark yet.
pub(crate) fn drops_before_marking(
    ruleset: &Ruleset,
    mark: PacketMark,
    openings: &[Opening<'_>],
) -> Result<bool, Unavoidable> {
    let is_early = |base: Base| base.priority <= MARKING_PRIORITY;
    for opening in openings {
        let places = ruleset.accept_places(opening.hook, mark, opening.packets, is_early)?;
        if !places.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the host itself may drop packets of established connections to these services.
pub(crate) fn may_cut_established(ruleset: &Ruleset, opening: &Opening<'_>) -> bool {
    opening.packets.iter().any(|packet| {
        let packet = Packet {
            mark: 0,
            is_established: true,
            ..packet.clone()
        };
        let judgement = ruleset.judge_beside_postern(opening.hook, &packet);
        !matches!(judgement, Judgement::Accepted(_))
    })
}

/// The changes that remove every rule of Postern from the host's own chains.
pub(crate) fn removal(ruleset: &Ruleset, mark: PacketMark) -> Vec<Change> {
    own_rules(ruleset, mark)
        .into_iter()
        .filter_map(|(place, rule, handle)| change(ruleset, place, rule, Action::Delete { handle }))
        .collect()
}

fn change(ruleset: &Ruleset, place: Place, rule: AcceptRule, action: Action) -> Option<Change> {
    let chain = ruleset.chains.get(place.chain)?;
    Some(Change {
        table: chain.table.clone(),
        chain: chain.name.clone(),
        rule,
        action,
    })
}

/// The rules without those of Postern, in the same chains.
pub(crate) fn without_postern(ruleset: &Ruleset, mark: PacketMark) -> Ruleset {
    let mut host = ruleset.clone();
    for chain in &mut host.chains {
        chain.rules = rules_of_host(chain, mark).cloned().collect();
        chain.base = chain.base.filter(|_| !chain.is_postern());
    }
    host
}

/// Postern's rules in the host's chains, each with its place among the rules of the host.
fn own_rules(ruleset: &Ruleset, mark: PacketMark) -> Vec<(Place, AcceptRule, u64)> {
    let mut found = Vec::new();
    for (index, chain) in ruleset.chains.iter().enumerate() {
        let mut foreign = 0_usize;
        for rule in &chain.rules {
            match own(&chain.table, rule, mark) {
                Some(own) => {
                    let place = Place {
                        chain: index,
                        index: foreign,
                    };
                    found.push((place, own, rule.handle));
                }
                None => foreign = foreign.saturating_add(1),
            }
        }
    }
    found
}

fn sees(table: &Table, service: Ports) -> bool {
    match service.protocol_name() {
        "icmp" => table.sees(Family::V4),
        "icmpv6" => table.sees(Family::V6),
        _ => true,
    }
}

fn bounded(services: &[Ports]) -> Vec<Ports> {
    if services.len() <= RULES_MAX {
        return services.to_vec();
    }
    let mut spans: Vec<Ports> = Vec::new();
    for service in services {
        match spans
            .last_mut()
            .and_then(|last| Some((last.span(*service)?, last)))
        {
            Some((span, last)) => *last = span,
            None => spans.push(*service),
        }
    }
    spans
}

#[cfg(test)]
mod tests;
