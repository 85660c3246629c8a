//! The way of one packet through a chain: what the rules make of it.
//!
//! Pure. The packet is an ordinary stranger's: it fulfils no condition that only few do. What a condition comes to may be unknown;
//! then both ways are walked, and the fate says that it depends.

use std::collections::HashMap;

use ipnet::IpNet;

use super::rules::{Base, Chain, Condition, Family, Rule, Ruleset, Test, To, Verdict};
use crate::model::service::Ports;

/// Chains within chains; the kernel allows 16.
const DEEPEST: usize = 32;

/// The packet that is asked about.
#[derive(Debug, Clone)]
pub(super) struct Packet<'a> {
    pub(super) family: Family,
    pub(super) service: Ports,
    /// What it was sent to, where that was rewritten.
    pub(super) original: Option<Ports>,
    /// Of a connection that exists already.
    pub(super) is_established: bool,
    /// What it comes in by; empty for one of no special name.
    pub(super) interface: &'a str,
    /// The gate's own addresses, or the hosts behind it.
    pub(super) to: &'a [IpNet],
    /// Chains that are taken to accept it or to let it pass, whatever stands in them.
    pub(super) known: &'a [(&'a str, bool)],
}

/// What becomes of a packet in a base chain. The text says which rule or policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    Accepted(String),
    Dropped(String),
    /// It depends on something that can't be read off the rules; the text is of the rule that may drop.
    Depends(String),
}

/// What may happen in a chain; more than one thing where it depends.
#[derive(Debug, Clone, Default)]
struct Ways {
    accept: Option<String>,
    drop: Option<String>,
    redirect: Option<(String, To)>,
    falls: bool,
}

/// Walks a base chain.
pub(super) fn fate(ruleset: &Ruleset, chain: &Chain, base: Base, packet: &Packet<'_>) -> Fate {
    let ways = Walk {
        ruleset,
        packet,
        known: HashMap::new(),
    }
    .through(chain, 0);
    let policy = format!("the policy of chain {}", chain.name);
    let accept = ways
        .accept
        .or_else(|| ways.redirect.map(|(rule, _)| rule))
        .or_else(|| (ways.falls && !base.drops).then(|| policy.clone()));
    let drop = ways
        .drop
        .or_else(|| (ways.falls && base.drops).then_some(policy));
    match (accept, drop) {
        (Some(_), Some(drop)) => Fate::Depends(drop),
        (None, Some(drop)) => Fate::Dropped(drop),
        (Some(accept), None) => Fate::Accepted(accept),
        (None, None) => Fate::Depends(format!("chain {}", chain.name)),
    }
}

/// The rule of a nat chain that sends the packet elsewhere, and where to.
pub(super) fn redirect(
    ruleset: &Ruleset,
    chain: &Chain,
    packet: &Packet<'_>,
) -> Option<(String, To)> {
    Walk {
        ruleset,
        packet,
        known: HashMap::new(),
    }
    .through(chain, 0)
    .redirect
}

struct Walk<'a> {
    ruleset: &'a Ruleset,
    packet: &'a Packet<'a>,
    /// A chain does the same to this packet wherever it is entered from.
    known: HashMap<usize, Ways>,
}

impl Walk<'_> {
    fn through(&mut self, chain: &Chain, depth: usize) -> Ways {
        let mut ways = Ways::default();
        for rule in &chain.rules {
            let Some(is_sure) = matches(rule, self.packet) else {
                continue;
            };
            let name = || rule.name.clone();
            match &rule.verdict {
                Verdict::Pass => continue,
                Verdict::Accept => ways.accept = ways.accept.or_else(|| Some(name())),
                Verdict::Drop => ways.drop = ways.drop.or_else(|| Some(name())),
                Verdict::Redirect(to) => {
                    ways.redirect = ways.redirect.or_else(|| Some((name(), *to)))
                }
                Verdict::Queue => {
                    ways.accept = ways.accept.or_else(|| Some(name()));
                    ways.drop = ways.drop.or_else(|| Some(name()));
                }
                Verdict::Return => ways.falls = true,
                Verdict::Jump(to) | Verdict::Goto(to) => {
                    let there = self.into(chain, to, depth, rule);
                    ways.accept = ways.accept.or(there.accept);
                    ways.drop = ways.drop.or(there.drop);
                    ways.redirect = ways.redirect.or(there.redirect);
                    if there.falls && matches!(rule.verdict, Verdict::Jump(_)) {
                        continue;
                    }
                    ways.falls |= there.falls;
                }
            }
            if is_sure {
                return ways;
            }
        }
        ways.falls = true;
        ways
    }

    fn into(&mut self, from: &Chain, to: &str, depth: usize, rule: &Rule) -> Ways {
        if let Some((_, accepts)) = self.packet.known.iter().find(|(name, _)| *name == to) {
            return Ways {
                accept: accepts.then(|| rule.name.clone()),
                falls: !accepts,
                ..Ways::default()
            };
        }
        let index = if depth < DEEPEST {
            self.ruleset.find(&from.table, to)
        } else {
            None
        };
        let Some((index, chain)) =
            index.and_then(|index| Some((index, self.ruleset.chains.get(index)?)))
        else {
            return Ways {
                falls: true,
                ..Ways::default()
            };
        };
        if let Some(known) = self.known.get(&index) {
            return known.clone();
        }
        let ways = self.through(chain, depth.saturating_add(1));
        self.known.insert(index, ways.clone());
        ways
    }
}

/// `None` where a rule does not apply, else whether that is sure.
fn matches(rule: &Rule, packet: &Packet<'_>) -> Option<bool> {
    let answers: Vec<Option<bool>> = rule
        .conditions
        .iter()
        .map(|condition| holds(condition, packet))
        .collect();
    (!answers.contains(&Some(false))).then(|| !answers.contains(&None))
}

/// `None`: unknown.
fn holds(condition: &Condition, packet: &Packet<'_>) -> Option<bool> {
    test(&condition.test, packet).map(|holds| holds != condition.is_negated)
}

fn test(test: &Test, packet: &Packet<'_>) -> Option<bool> {
    match test {
        Test::Always => Some(true),
        Test::Never | Test::Few => Some(false),
        Test::Unknown => None,
        Test::Family(family) => Some(*family == packet.family),
        Test::Protocol(numbers) => Some(numbers.contains(&packet.service.protocol())),
        Test::Port(ranges) => ports(ranges, packet.service),
        Test::OriginalPort(ranges) => ports(ranges, packet.original.unwrap_or(packet.service)),
        Test::State(states) => {
            let own = if packet.is_established {
                "established"
            } else {
                "new"
            };
            Some(states.iter().any(|state| state == own))
        }
        Test::Interface(names) => Some(names.iter().any(|name| is_named(name, packet.interface))),
        Test::Destination(networks) => destination(networks, packet),
        Test::Flags { mask, set } => (packet.service.protocol() == 6).then(|| {
            let own = if packet.is_established { "ack" } else { "syn" };
            let seen: Vec<&String> = mask.iter().filter(|flag| *flag == own).collect();
            seen.len() == set.len() && set.iter().all(|flag| seen.contains(&flag))
        }),
    }
}

/// Of a range of ports that a rule names in part, it is unknown.
fn ports(ranges: &[(u16, u16)], service: Ports) -> Option<bool> {
    let Some((first, last)) = service.range() else {
        return Some(false);
    };
    if ranges
        .iter()
        .any(|(from, to)| *from <= first && last <= *to)
    {
        return Some(true);
    }
    if ranges
        .iter()
        .any(|(from, to)| *from <= last && first <= *to)
    {
        None
    } else {
        Some(false)
    }
}

fn is_named(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix(['+', '*']) {
        Some(start) => name.starts_with(start),
        None => !name.is_empty() && pattern == name,
    }
}

fn destination(networks: &[IpNet], packet: &Packet<'_>) -> Option<bool> {
    let own: Vec<&IpNet> = packet
        .to
        .iter()
        .filter(|own| packet.family.is_of(own))
        .collect();
    let covered = own
        .iter()
        .filter(|own| networks.iter().any(|network| network.contains(**own)))
        .count();
    match covered {
        0 if own
            .iter()
            .any(|own| networks.iter().any(|network| own.contains(network))) =>
        {
            None
        }
        0 => Some(false),
        all if all == own.len() => Some(true),
        _ => None,
    }
}
