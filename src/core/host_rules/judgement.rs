//! The judgement of a packet by the rules.
//!
//! The kernel sends a packet through every base chain of a hook. An accept ends one base chain only; a drop in any of
//! them is final. Where a condition is unknown, both outcomes are followed.

use std::collections::HashMap;

use super::packet::Packet;
use super::rules::{Base, Chain, Hook, NewDestination, Rule, Ruleset, Verdict};
use crate::model::address::Family;

/// Limit for nested jumps; the kernel allows 16.
const MAX_DEPTH: usize = 32;

/// What the rules do with a packet, and the rule or policy that decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Judgement {
    Accepted(String),
    Dropped(String),
    /// An unknown condition decides; the text names the rule that may drop it.
    CannotTell(String),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct BaseChain<'a> {
    pub(crate) chain: &'a Chain,
    pub(crate) base: Base,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rewrite {
    pub(crate) rule: String,
    pub(crate) to: NewDestination,
}

impl Ruleset {
    /// The base chains that filter a packet on its way to a hook.
    pub(crate) fn filter_chains(&self, family: Family, hook: Hook) -> Vec<BaseChain<'_>> {
        self.base_chains(family)
            .filter(|BaseChain { base, .. }| {
                !base.is_nat && (base.hook == hook || base.hook == Hook::Prerouting)
            })
            .collect()
    }

    pub(crate) fn rewrite_chains(&self, family: Family) -> Vec<BaseChain<'_>> {
        self.base_chains(family)
            .filter(|BaseChain { base, .. }| base.is_nat && base.hook == Hook::Prerouting)
            .collect()
    }

    fn base_chains(&self, family: Family) -> impl Iterator<Item = BaseChain<'_>> {
        self.chains
            .iter()
            .filter(move |chain| chain.table.sees(family))
            .filter_map(|chain| chain.base.map(|base| BaseChain { chain, base }))
    }

    pub(crate) fn judge(&self, hook: Hook, packet: &Packet<'_>) -> Judgement {
        let mut accepted = "no rule".to_owned();
        let mut doubt = None;
        for step in self.filter_chains(packet.family, hook) {
            let place = |rule| format!("{rule} in {}", step.chain.table);
            match self.judge_chain(step, packet) {
                Judgement::Dropped(rule) => return Judgement::Dropped(place(rule)),
                Judgement::CannotTell(rule) => doubt = doubt.or_else(|| Some(place(rule))),
                Judgement::Accepted(rule) => accepted = place(rule),
            }
        }
        doubt.map_or(Judgement::Accepted(accepted), Judgement::CannotTell)
    }

    pub(crate) fn judge_chain(&self, step: BaseChain<'_>, packet: &Packet<'_>) -> Judgement {
        let outcomes = self.outcomes(step.chain, packet);
        let policy = |applies: bool| {
            (outcomes.reaches_end && applies)
                .then(|| format!("the policy of chain {}", step.chain.name))
        };
        let accept = outcomes
            .accept
            .clone()
            .or_else(|| {
                outcomes
                    .rewrite
                    .as_ref()
                    .map(|rewrite| rewrite.rule.clone())
            })
            .or_else(|| policy(!step.base.drops));
        let drop = outcomes.drop.clone().or_else(|| policy(step.base.drops));
        match (accept, drop) {
            (Some(_), Some(drop)) => Judgement::CannotTell(drop),
            (None, Some(drop)) => Judgement::Dropped(drop),
            (Some(accept), None) => Judgement::Accepted(accept),
            (None, None) => Judgement::CannotTell(format!("chain {}", step.chain.name)),
        }
    }

    /// The rule of a chain that changes the packet's destination, if one may.
    pub(crate) fn rewrite(&self, step: BaseChain<'_>, packet: &Packet<'_>) -> Option<Rewrite> {
        self.outcomes(step.chain, packet).rewrite
    }

    fn outcomes(&self, chain: &Chain, packet: &Packet<'_>) -> Outcomes {
        Walk {
            ruleset: self,
            packet,
            done: HashMap::new(),
        }
        .chain(chain, 0)
    }
}

/// What may happen in a chain; more than one thing if a condition is unknown.
#[derive(Debug, Clone, Default)]
struct Outcomes {
    accept: Option<String>,
    drop: Option<String>,
    rewrite: Option<Rewrite>,
    reaches_end: bool,
}

struct Walk<'a> {
    ruleset: &'a Ruleset,
    packet: &'a Packet<'a>,
    /// A chain does the same to this packet from wherever it is entered.
    done: HashMap<usize, Outcomes>,
}

impl Walk<'_> {
    fn chain(&mut self, chain: &Chain, depth: usize) -> Outcomes {
        let mut outcomes = Outcomes::default();
        for rule in &chain.rules {
            let Some(is_certain) = applies(rule, self.packet) else {
                continue;
            };
            let name = || rule.name.clone();
            match &rule.verdict {
                Verdict::Continue => continue,
                Verdict::Accept => {
                    outcomes.accept.get_or_insert_with(name);
                }
                Verdict::Drop => {
                    outcomes.drop.get_or_insert_with(name);
                }
                Verdict::Rewrite(to) => {
                    outcomes.rewrite.get_or_insert_with(|| Rewrite {
                        rule: name(),
                        to: *to,
                    });
                }
                Verdict::Queue => {
                    outcomes.accept.get_or_insert_with(name);
                    outcomes.drop.get_or_insert_with(name);
                }
                Verdict::Return => outcomes.reaches_end = true,
                Verdict::Jump(to) | Verdict::Goto(to) => {
                    let inner = self.target(chain, to, depth, rule);
                    outcomes.accept = outcomes.accept.or(inner.accept);
                    outcomes.drop = outcomes.drop.or(inner.drop);
                    outcomes.rewrite = outcomes.rewrite.or(inner.rewrite);
                    if inner.reaches_end && matches!(rule.verdict, Verdict::Jump(_)) {
                        continue;
                    }
                    outcomes.reaches_end |= inner.reaches_end;
                }
            }
            if is_certain {
                return outcomes;
            }
        }
        outcomes.reaches_end = true;
        outcomes
    }

    fn target(&mut self, from: &Chain, to: &str, depth: usize, rule: &Rule) -> Outcomes {
        let passes = Outcomes {
            reaches_end: true,
            ..Outcomes::default()
        };
        if let Some(known) = self
            .packet
            .known_chains
            .iter()
            .find(|known| known.name == to)
        {
            return Outcomes {
                accept: known.accepts.then(|| rule.name.clone()),
                reaches_end: !known.accepts,
                ..Outcomes::default()
            };
        }
        if depth >= MAX_DEPTH {
            return passes;
        }
        let Some(index) = self.ruleset.find(&from.table, to) else {
            return passes;
        };
        if let Some(done) = self.done.get(&index) {
            return done.clone();
        }
        let Some(chain) = self.ruleset.chains.get(index) else {
            return passes;
        };
        let outcomes = self.chain(chain, depth.saturating_add(1));
        self.done.insert(index, outcomes.clone());
        outcomes
    }
}

/// `None` if the rule does not apply, else whether that is certain.
fn applies(rule: &Rule, packet: &Packet<'_>) -> Option<bool> {
    let mut is_certain = true;
    for condition in &rule.conditions {
        match condition.holds(packet) {
            Some(true) => {}
            Some(false) => return None,
            None => is_certain = false,
        }
    }
    Some(is_certain)
}
