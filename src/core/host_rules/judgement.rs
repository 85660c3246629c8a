//! The judgement of a packet by the rules.
//!
//! The kernel sends a packet through every base chain of a hook, in the order of their priorities. An accept ends one
//! base chain only; a drop in any of them is final. Where a condition is unknown, both outcomes are followed.

use std::collections::HashMap;
use std::fmt;

use super::packet::{Packet, State, Tracking};
use super::rules::{Base, Chain, Effect, Hook, NewDestination, Rule, Ruleset, Table, Verdict};
use crate::model::address::Family;

/// Limit for nested jumps; the kernel allows 16.
const MAX_DEPTH: usize = 32;

/// Connection tracking sees packets between the base chains before and behind this priority.
const TRACKING_PRIORITY: i32 = -200;

/// In place of the rule that accepts, if no chain sees the packet.
pub(crate) const NO_RULE: &str = "no rule";

/// What the rules do with a packet, and the rule or policy that decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Judgement {
    Accepted(String),
    Dropped(String),
    /// An unknown condition decides; the text names the rule that may drop it.
    CannotTell(String),
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted(rule) if rule == NO_RULE => f.write_str("accepted; no rule drops it"),
            Self::Accepted(rule) => write!(f, "accepted by {rule}"),
            Self::Dropped(rule) => write!(f, "dropped by {rule}"),
            Self::CannotTell(rule) => write!(f, "cannot tell: {rule} decides"),
        }
    }
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
    /// The base chains that filter a packet on its way to a hook, in order.
    pub(crate) fn filter_chains(&self, family: Family, hook: Hook) -> Vec<BaseChain<'_>> {
        let mut chains: Vec<BaseChain<'_>> = self
            .base_chains(family)
            .filter(|BaseChain { base, .. }| {
                !base.is_nat && (base.hook == hook || base.hook == Hook::Prerouting)
            })
            .collect();
        chains.sort_by_key(|step| (step.base.hook != Hook::Prerouting, step.base.priority));
        chains
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
        self.judge_with(hook, packet, false)
    }

    /// What the host's own rules do if those of Postern's chains let the packet pass.
    pub(crate) fn judge_beside_postern(&self, hook: Hook, packet: &Packet<'_>) -> Judgement {
        self.judge_with(hook, packet, true)
    }

    fn judge_with(&self, hook: Hook, packet: &Packet<'_>, passes_postern: bool) -> Judgement {
        let (mut accepted, mut is_by_rule) = (NO_RULE.to_owned(), false);
        let mut doubt = None;
        let mut state = State::of(packet);
        let new = |packet| Walk {
            passes_postern,
            ..Walk::new(self, packet)
        };
        let mut walk = new(packet);
        let before = packet.before_translation();
        let mut early = before.as_ref().map(new);
        for step in self.filter_chains(packet.family, hook) {
            if walk.passes(step.chain) {
                continue;
            }
            let place = |rule| format!("{rule} in {}", step.chain.table);
            let walk = match &mut early {
                Some(early) if step.base.is_before_translation() => early,
                _ => &mut walk,
            };
            let outcomes = walk.base_chain(step, state);
            match outcomes.judgement(step) {
                Judgement::Dropped(rule) => {
                    let earlier = doubt.map(|earlier| format!("{earlier}, or by "));
                    let rule = place(rule);
                    return Judgement::Dropped(earlier.unwrap_or_default() + &rule);
                }
                Judgement::CannotTell(rule) => doubt = doubt.or_else(|| Some(place(rule))),
                // a rule says more than the policy of a chain that no rule decides in
                Judgement::Accepted(rule) => {
                    if outcomes.accept.is_some() || !is_by_rule {
                        accepted = place(rule);
                    }
                    is_by_rule |= outcomes.accept.is_some();
                }
            }
            state = outcomes.state_behind(step).unwrap_or(state);
        }
        doubt.map_or(Judgement::Accepted(accepted), Judgement::CannotTell)
    }

    /// The chain that exempts the packet from connection tracking, if one may.
    pub(crate) fn untracked_by(&self, packet: &Packet<'_>) -> Option<String> {
        let mut walk = Walk::new(self, packet);
        let mut state = State::of(packet);
        for step in self.filter_chains(packet.family, Hook::Prerouting) {
            state = walk.base_chain(step, state).state_behind(step)?;
            if matches!(state.tracking, Tracking::Untracked | Tracking::Unknown) {
                return Some(format!("chain {} in {}", step.chain.name, step.chain.table));
            }
        }
        None
    }

    pub(crate) fn judge_chain(&self, step: BaseChain<'_>, packet: &Packet<'_>) -> Judgement {
        Walk::new(self, packet)
            .base_chain(step, State::of(packet))
            .judgement(step)
    }

    /// The rule of a chain that changes the packet's destination, if one may.
    pub(crate) fn rewrite(&self, step: BaseChain<'_>, packet: &Packet<'_>) -> Option<Rewrite> {
        Walk::new(self, packet)
            .base_chain(step, State::of(packet))
            .rewrite
    }
}

/// What may happen in a chain; more than one thing if a condition is unknown.
#[derive(Debug, Clone, Default)]
struct Outcomes {
    /// The first rule that may accept, and the packet's state after all that may.
    accept: Option<(String, State)>,
    /// The first rule that may drop.
    drop: Option<String>,
    /// Another rule may drop too.
    has_more_drops: bool,
    rewrite: Option<Rewrite>,
    /// The packet's state at the end of the chain, if it gets there.
    end: Option<State>,
}

impl Outcomes {
    fn passing(state: State) -> Self {
        Self {
            end: Some(state),
            ..Self::default()
        }
    }

    fn judgement(&self, step: BaseChain<'_>) -> Judgement {
        let policy = |applies: bool| {
            (self.end.is_some() && applies)
                .then(|| format!("the policy of chain {}", step.chain.name))
        };
        let accept = self.accept.as_ref().map(|(rule, _)| rule.clone());
        let accept = accept
            .or_else(|| Some(self.rewrite.as_ref()?.rule.clone()))
            .or_else(|| policy(!step.base.drops));
        let policy_drops = policy(step.base.drops);
        let has_more_drops = self.has_more_drops || policy_drops.is_some();
        let drop = match &self.drop {
            Some(rule) if has_more_drops => Some(format!("{rule} or a later one")),
            Some(rule) => Some(rule.clone()),
            None => policy_drops,
        };
        match (accept, drop) {
            (Some(_), Some(drop)) => Judgement::CannotTell(drop),
            (None, Some(drop)) => Judgement::Dropped(drop),
            (Some(accept), None) => Judgement::Accepted(accept),
            (None, None) => Judgement::CannotTell(format!("chain {}", step.chain.name)),
        }
    }

    fn state_behind(&self, step: BaseChain<'_>) -> Option<State> {
        let accepted = self.accept.as_ref().map(|(_, state)| *state);
        either(accepted, self.end.filter(|_| !step.base.drops))
    }

    fn add_accept(&mut self, rule: &str, state: State) {
        self.accept = Some(match self.accept.take() {
            Some((first, earlier)) => (first, earlier.or(state)),
            None => (rule.to_owned(), state),
        });
    }

    fn add_drop(&mut self, rule: &str) {
        let first = self.drop.get_or_insert_with(|| rule.to_owned());
        self.has_more_drops |= first != rule;
    }

    fn add(&mut self, inner: Self) {
        if let Some((rule, state)) = inner.accept {
            self.add_accept(&rule, state);
        }
        if let Some(rule) = inner.drop {
            self.add_drop(&rule);
        }
        self.has_more_drops |= inner.has_more_drops;
        self.rewrite = self.rewrite.take().or(inner.rewrite);
    }
}

fn either(one: Option<State>, other: Option<State>) -> Option<State> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.or(other)),
        (one, other) => one.or(other),
    }
}

struct Walk<'a> {
    /// Chains of Postern do nothing.
    passes_postern: bool,
    packet: &'a Packet<'a>,
    chains: &'a [Chain],
    by_name: HashMap<(&'a Table, &'a str), usize>,
    /// A chain does the same to this packet in this state from wherever it is entered.
    done: HashMap<(usize, State), Outcomes>,
}

impl<'a> Walk<'a> {
    fn new(ruleset: &'a Ruleset, packet: &'a Packet<'a>) -> Self {
        Self {
            passes_postern: false,
            packet,
            chains: &ruleset.chains,
            by_name: ruleset.by_name(),
            done: HashMap::new(),
        }
    }

    fn passes(&self, chain: &Chain) -> bool {
        self.passes_postern && chain.is_postern()
    }

    fn base_chain(&mut self, step: BaseChain<'_>, state: State) -> Outcomes {
        let is_before_tracking =
            step.base.hook == Hook::Prerouting && step.base.priority < TRACKING_PRIORITY;
        let tracking = match state.tracking {
            Tracking::Tracked if is_before_tracking => Tracking::NotYet,
            Tracking::NotYet if !is_before_tracking => Tracking::Tracked,
            known => known,
        };
        self.chain(step.chain, State { tracking, ..state }, 0)
    }

    fn chain(&mut self, chain: &Chain, mut state: State, depth: usize) -> Outcomes {
        let mut outcomes = Outcomes::default();
        for rule in &chain.rules {
            let Some(is_certain) = applies(rule, self.packet, state) else {
                continue;
            };
            let before = state;
            let after = rule.effect.map_or(state, |effect| changed(state, effect));
            match &rule.verdict {
                Verdict::Continue => {
                    state = if is_certain { after } else { before.or(after) };
                    continue;
                }
                Verdict::Accept => outcomes.add_accept(&rule.name, after),
                Verdict::Drop => outcomes.add_drop(&rule.name),
                Verdict::Rewrite(to) => {
                    outcomes.rewrite.get_or_insert_with(|| Rewrite {
                        rule: rule.name.clone(),
                        to: *to,
                    });
                }
                Verdict::Queue => {
                    outcomes.add_accept(&rule.name, after);
                    outcomes.add_drop(&rule.name);
                }
                Verdict::Return => outcomes.end = either(outcomes.end, Some(after)),
                Verdict::Jump(to) | Verdict::Goto(to) => {
                    let mut inner = self.target(chain, to, after, depth, rule);
                    let end = inner.end.take();
                    outcomes.add(inner);
                    if matches!(rule.verdict, Verdict::Goto(_)) {
                        outcomes.end = either(outcomes.end, end);
                    } else if let Some(end) = end {
                        state = if is_certain { end } else { before.or(end) };
                        continue;
                    }
                }
            }
            if is_certain {
                return outcomes;
            }
        }
        outcomes.end = either(outcomes.end, Some(state));
        outcomes
    }

    fn target(
        &mut self,
        from: &Chain,
        to: &str,
        state: State,
        depth: usize,
        rule: &Rule,
    ) -> Outcomes {
        let mut known = self.packet.known_chains.iter();
        if let Some(known) = known.find(|known| known.name == to) {
            let mut outcomes = Outcomes::default();
            if known.accepts {
                outcomes.add_accept(&rule.name, state);
            } else {
                outcomes.end = Some(state);
            }
            return outcomes;
        }
        let chains = self.chains;
        let index = self.by_name.get(&(&from.table, to)).copied();
        let Some((index, chain)) = index
            .filter(|_| depth < MAX_DEPTH)
            .and_then(|index| Some((index, chains.get(index)?)))
            .filter(|(_, chain)| !self.passes(chain))
        else {
            return Outcomes::passing(state);
        };
        if let Some(done) = self.done.get(&(index, state)) {
            return done.clone();
        }
        let outcomes = self.chain(chain, state, depth.saturating_add(1));
        self.done.insert((index, state), outcomes.clone());
        outcomes
    }
}

fn changed(state: State, effect: Effect) -> State {
    match effect {
        Effect::Mark { mask, value } => State {
            mark: state.mark & !mask | value & mask,
            known: state.known | mask,
            ..state
        },
        Effect::UnknownMark { mask } => State {
            known: state.known & !mask,
            ..state
        },
        Effect::NoTracking => State {
            tracking: Tracking::Untracked,
            ..state
        },
    }
}

/// `None` if the rule does not apply, else whether that is certain.
fn applies(rule: &Rule, packet: &Packet<'_>, state: State) -> Option<bool> {
    let mut is_certain = true;
    for condition in &rule.conditions {
        match condition.holds_in(packet, state) {
            Some(true) => {}
            Some(false) => return None,
            None => is_certain = false,
        }
    }
    Some(is_certain)
}
