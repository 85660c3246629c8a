//! Where the host's own chains need a rule that accepts granted packets.
//!
//! The rule belongs directly before what drops a granted packet whatever its source: a chain's policy, a final drop or
//! reject, the end of a zone's chain. It never goes before a drop that is meant for some sources only, so such a drop
//! still beats a grant.

use std::collections::{BTreeSet, HashMap};

use super::accept_rule::rules_of_host;
use super::condition::Condition;
use super::packet::Packet;
use super::rules::{Base, Chain, Hook, Rule, Ruleset, Table, Verdict};
use crate::model::packet_mark::PacketMark;

/// The kernel allows 16 nested jumps.
const MAX_DEPTH: usize = 16;

/// The most dropping places for one packet; more means that the rules are not understood.
const MAX_PLACES: usize = 32;

/// A position in a chain, among the rules that are not Postern's: before the one with this index, or at the end if there
/// is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) chain: usize,
    pub(crate) index: usize,
}

impl Place {
    /// Behind every rule of the chain.
    pub(super) fn at_end(self) -> Self {
        Self {
            index: usize::MAX,
            ..self
        }
    }
}

/// A drop that no rule in a chain of this hook can prevent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unavoidable {
    #[error("{0} drops the packet before the hook of the service")]
    Earlier(String),
    #[error("the chains of the host are nested too deeply")]
    TooDeep,
}

impl Ruleset {
    /// The places where rules that accept are needed, so that all these packets pass the hook. Rules of
    /// Postern do not count. A rule with an unknown condition counts as meant for some packets only.
    pub(crate) fn accept_places(
        &self,
        hook: Hook,
        mark: PacketMark,
        packets: &[Packet<'_>],
        counts: impl Fn(Base) -> bool,
    ) -> Result<BTreeSet<Place>, Unavoidable> {
        let mut search = Search {
            mark,
            chains: &self.chains,
            by_name: self.by_name(),
            places: BTreeSet::new(),
        };
        for packet in packets {
            let before = packet.before_translation();
            for (index, chain) in self.chains.iter().enumerate() {
                let base = chain.base.filter(|base| !base.is_nat && counts(*base));
                let Some(base) = base.filter(|_| !chain.is_postern()) else {
                    continue;
                };
                if !chain.table.sees(packet.family) {
                    continue;
                }
                if base.hook == hook {
                    search.open(index, packet)?;
                } else if base.hook == Hook::Prerouting
                    && let Some(drop) = search.drop_in(index, seen(base, packet, &before))?
                {
                    return Err(Unavoidable::Earlier(search.name(&drop)));
                }
            }
        }
        Ok(search.places)
    }
}

/// The packet as a chain sees it.
fn seen<'p, 'a>(
    base: Base,
    packet: &'p Packet<'a>,
    before: &'p Option<Packet<'a>>,
) -> &'p Packet<'a> {
    before
        .as_ref()
        .filter(|_| base.is_before_translation())
        .unwrap_or(packet)
}

struct Search<'a> {
    /// The mark of Postern's own rules.
    mark: PacketMark,
    chains: &'a [Chain],
    by_name: HashMap<(&'a Table, &'a str), usize>,
    places: BTreeSet<Place>,
}

enum End {
    Accepted,
    Dropped,
    /// Before this place: the chain's end, or a rule that returns.
    Left(Place),
    /// Accepted, or left before that by a rule with an unknown condition.
    AcceptedOrLeft,
}

impl Search<'_> {
    /// Adds places until the base chain lets the packet pass.
    fn open(&mut self, base: usize, packet: &Packet<'_>) -> Result<(), Unavoidable> {
        for _ in 0..MAX_PLACES {
            let Some(path) = self.drop_in(base, packet)? else {
                return Ok(());
            };
            let place = self.best_place(&path);
            self.places.insert(place);
        }
        Err(Unavoidable::TooDeep)
    }

    /// The way to the rule or policy that drops the packet: a position in each chain, the base chain first.
    fn drop_in(&self, base: usize, packet: &Packet<'_>) -> Result<Option<Vec<Place>>, Unavoidable> {
        let mut path = Vec::new();
        match self.walk(base, packet, &mut path)? {
            End::Dropped => Ok(Some(path)),
            End::Accepted | End::AcceptedOrLeft => Ok(None),
            End::Left(place) => {
                let base = self.chains.get(base).and_then(|chain| chain.base);
                Ok(base.filter(|base| base.drops).map(|_| vec![place]))
            }
        }
    }

    fn walk(
        &self,
        chain: usize,
        packet: &Packet<'_>,
        path: &mut Vec<Place>,
    ) -> Result<End, Unavoidable> {
        if path.len() >= MAX_DEPTH {
            return Err(Unavoidable::TooDeep);
        }
        let rules = self.chains.get(chain).into_iter();
        let rules = rules.flat_map(|chain| rules_of_host(chain, self.mark));
        let mut length = 0;
        let mut may_have_left = false;
        let accepted = |may_have_left| {
            if may_have_left {
                End::AcceptedOrLeft
            } else {
                End::Accepted
            }
        };
        for (index, rule) in rules.enumerate() {
            length = index.saturating_add(1);
            let place = Place { chain, index };
            if self.places.contains(&place) {
                return Ok(accepted(may_have_left));
            }
            let Some(is_certain) = may_apply(&rule.conditions, packet) else {
                continue;
            };
            match &rule.verdict {
                Verdict::Return if is_certain => return Ok(End::Left(place)),
                Verdict::Return => may_have_left = true,
                _ if !is_certain => {}
                Verdict::Accept | Verdict::Queue | Verdict::Rewrite(_) => {
                    return Ok(accepted(may_have_left));
                }
                Verdict::Drop => {
                    path.push(place);
                    return Ok(End::Dropped);
                }
                Verdict::Continue => {}
                Verdict::Jump(to) | Verdict::Goto(to) => {
                    let Some(target) = self.target(chain, to) else {
                        continue;
                    };
                    path.push(place);
                    let end = self.walk(target, packet, path)?;
                    if matches!(end, End::Dropped) {
                        return Ok(end);
                    }
                    path.pop();
                    let is_goto = matches!(rule.verdict, Verdict::Goto(_));
                    match end {
                        End::Accepted => return Ok(accepted(may_have_left)),
                        End::Left(_) | End::AcceptedOrLeft if !is_goto => {}
                        end => return Ok(end),
                    }
                }
            }
        }
        let end = Place {
            chain,
            index: length,
        };
        if self.places.contains(&end) {
            return Ok(accepted(may_have_left));
        }
        Ok(End::Left(end))
    }

    fn target(&self, from: usize, name: &str) -> Option<usize> {
        let table = &self.chains.get(from)?.table;
        self.by_name.get(&(table, name)).copied()
    }

    /// The innermost position, or one further out if the inner chain drops for several callers and holds no drop of its
    /// own that is meant for some packets only.
    fn best_place(&self, path: &[Place]) -> Place {
        let mut rest = path;
        loop {
            match rest {
                [outer @ .., inner] if !outer.is_empty() && self.is_shared_end(*inner) => {
                    rest = outer;
                }
                [.., inner] => return *inner,
                [] => return Place { chain: 0, index: 0 },
            }
        }
    }

    fn is_shared_end(&self, place: Place) -> bool {
        let Some(chain) = self.chains.get(place.chain) else {
            return false;
        };
        let calls = |rule: &&Rule| matches!(&rule.verdict, Verdict::Jump(to) | Verdict::Goto(to) if *to == chain.name);
        let callers = self
            .chains
            .iter()
            .filter(|from| from.table == chain.table)
            .flat_map(|from| &from.rules)
            .filter(calls)
            .count();
        let decides = |rule: &Rule| !matches!(rule.verdict, Verdict::Continue | Verdict::Accept);
        callers > 1
            && !rules_of_host(chain, self.mark)
                .take(place.index)
                .any(decides)
    }

    fn name(&self, path: &[Place]) -> String {
        let Some((chain, place)) = path
            .last()
            .and_then(|place| Some((self.chains.get(place.chain)?, place)))
        else {
            return "a chain".to_owned();
        };
        match rules_of_host(chain, self.mark).nth(place.index) {
            Some(rule) => format!("{} in {}", rule.name, chain.table),
            None => format!("the policy of chain {} in {}", chain.name, chain.table),
        }
    }
}

/// `None` if a rule does not apply to the packet, else whether that is certain.
fn may_apply(conditions: &[Condition], packet: &Packet<'_>) -> Option<bool> {
    let mut is_certain = true;
    for condition in conditions {
        match condition.holds(packet) {
            Some(true) => {}
            Some(false) => return None,
            None => is_certain = false,
        }
    }
    Some(is_certain)
}
