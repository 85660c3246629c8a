//! Which chains packets of interest may enter. A large host has thousands that they cannot.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::condition::Test;
use super::owners::owner_of;
use super::packet::{Packet, State, Tracking};
use super::rules::{Chain, Hook, Rule, Ruleset, Verdict};
use crate::model::address::Family;
use crate::model::service::Ports;

/// Chains of the iptables driver count even if no rule jumps to them.
const OWN_CHAINS: &str = "POSTERN";

/// Packets of interest. Their ports, marks and connections may be any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sought {
    interfaces: Vec<String>,
    source: Option<IpAddr>,
    here: Vec<IpNet>,
    behind: Vec<IpNet>,
    forwarded: Vec<IpNet>,
}

impl Sought {
    /// Packets that come in by these interfaces.
    pub(crate) fn by(interfaces: &[String]) -> Self {
        Self {
            interfaces: interfaces.to_vec(),
            source: None,
            here: Vec::new(),
            behind: Vec::new(),
            forwarded: Vec::new(),
        }
    }

    /// With this source, instead of an ordinary stranger's.
    pub(crate) fn from(self, source: Option<IpAddr>) -> Self {
        Self { source, ..self }
    }

    /// To addresses of this host, and to networks behind it. What is forwarded may have any destination, because rules
    /// translate it.
    pub(crate) fn to(self, here: &[IpNet], behind: &[IpNet]) -> Self {
        let all = [[0; 4].into(), [0; 16].into()].map(|zero: IpAddr| IpNet::new_assert(zero, 0));
        Self {
            here: here.to_vec(),
            behind: behind.to_vec(),
            forwarded: all.to_vec(),
            ..self
        }
    }

    /// The chains that a chain passes packets of interest on to, in this hook.
    pub(crate) fn targets<'a>(
        &self,
        chain: &'a Chain,
        hook: Hook,
    ) -> impl Iterator<Item = &'a str> {
        let mut seen: HashSet<&str> = HashSet::new();
        chain.rules.iter().filter_map(move |rule| {
            let (Verdict::Jump(to) | Verdict::Goto(to)) = &rule.verdict else {
                return None;
            };
            let is_new = !seen.contains(to.as_str()) && self.may_match(rule, chain, hook);
            (is_new && seen.insert(to)).then_some(to.as_str())
        })
    }

    /// Whether a rule passes packets of interest on to another chain.
    pub(crate) fn leads_on(&self, rule: &Rule, chain: &Chain, hook: Hook) -> bool {
        matches!(rule.verdict, Verdict::Jump(_) | Verdict::Goto(_))
            && self.may_match(rule, chain, hook)
    }

    fn may_match(&self, rule: &Rule, chain: &Chain, hook: Hook) -> bool {
        let (here, behind) = (Some(&self.here), Some(&self.behind));
        let (here, behind) = match hook {
            Hook::Prerouting => (here, behind),
            Hook::Input => (here, None),
            Hook::Forward => (None, Some(&self.forwarded)),
        };
        let behind = behind.filter(|behind| !behind.is_empty());
        let matches = |packet: Packet<'_>| {
            let mut conditions = rule.conditions.iter();
            conditions.all(|one| {
                // a granted packet is in such a set
                let is_in_set = matches!(one.test, Test::InSet { .. });
                is_in_set || one.holds_in(&packet, ANY) != Some(false)
            })
        };
        let families = Family::BOTH.into_iter();
        let mut families = families.filter(|family| chain.table.sees(*family));
        families.any(|family| {
            let here = here.map(|here| self.packets(family, here, false));
            let behind = behind.map(|behind| self.packets(family, behind, true));
            here.into_iter().flatten().any(matches) || behind.into_iter().flatten().any(matches)
        })
    }

    fn packets<'a>(
        &'a self,
        family: Family,
        destinations: &'a [IpNet],
        is_forwarded: bool,
    ) -> impl Iterator<Item = Packet<'a>> {
        self.interfaces.iter().flat_map(move |interface| {
            Ports::every().flat_map(move |service| {
                [false, true].map(|is_established| Packet {
                    family,
                    service,
                    original: None,
                    is_established,
                    source: self.source,
                    is_forwarded,
                    mark: 0,
                    interface,
                    out_interface: None,
                    destinations,
                    known_chains: &[],
                    sets: &[],
                })
            })
        })
    }

    /// Whether the name of a chain tells whose the table is.
    pub(crate) fn owner(chain: &Chain) -> Option<&'static str> {
        owner_of(&chain.name)
    }

    /// Whether a chain is read although no chain passes packets to it.
    pub(crate) fn is_wanted(chain: &Chain) -> bool {
        chain.base.is_some() || chain.name.starts_with(OWN_CHAINS)
    }
}

/// Rules may have set the mark, and connection tracking may have seen the packet.
const ANY: State = State {
    mark: 0,
    known: 0,
    tracking: Tracking::Unknown,
};

impl Ruleset {
    /// Without the chains that no packet of interest enters, except one without rules for each owner of a table.
    pub(crate) fn reached_by(mut self, sought: &Sought) -> Self {
        let by_name = self.by_name();
        let mut reached: HashSet<(usize, Hook)> = HashSet::new();
        let mut open: Vec<(usize, Hook)> = Vec::new();
        for (index, chain) in self.chains.iter().enumerate() {
            if Sought::is_wanted(chain) {
                let hook = chain.base.map_or(Hook::Input, |base| base.hook);
                open.push((index, hook));
            }
        }
        while let Some((index, hook)) = open.pop() {
            let Some(chain) = self.chains.get(index) else {
                continue;
            };
            if reached.insert((index, hook)) {
                let targets = sought.targets(chain, hook);
                let known = targets.filter_map(|name| by_name.get(&(&chain.table, name)));
                open.extend(known.map(|index| (*index, hook)));
            }
        }
        let reached: HashSet<usize> = reached.into_iter().map(|(index, _)| index).collect();
        let mut index = 0_usize..;
        let mut owners = HashSet::new();
        self.chains.retain_mut(|chain| {
            if index.next().is_some_and(|index| reached.contains(&index)) {
                return true;
            }
            chain.rules.clear();
            Sought::owner(chain).is_some_and(|owner| owners.insert((chain.table.clone(), owner)))
        });
        self
    }
}
