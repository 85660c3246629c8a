//! Address translation: ports of the gate that lead to hosts behind it, or to other ports of the gate. Pure.

use std::collections::BTreeSet;

use super::expressions::{self, PortOf};
use super::rule::{Rule, all, service, sets};
use super::sets::{Kind, Set, Side};
use crate::model::catalog::Forward;

/// What the chains of address translation must do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Nat {
    /// Ports of the gate lead to hosts behind it.
    pub(super) hosts: bool,
    /// Ports of the gate that lead to another one.
    pub(super) redirects: BTreeSet<Forward>,
}

impl Nat {
    pub(super) fn of<'a>(forwards: impl Iterator<Item = &'a Forward>) -> Self {
        let mut nat = Self::default();
        for forward in forwards {
            if forward.host.is_some() {
                nat.hosts = true;
            } else {
                nat.redirects.insert(*forward);
            }
        }
        nat
    }

    /// Whether the rules carry this forward out.
    pub(super) fn has(&self, forward: &Forward) -> bool {
        (forward.host.is_some() && self.hosts) || self.redirects.contains(forward)
    }
}

/// Redirects packets to the gate itself. Packets to other hosts that pass through it keep their target.
pub(super) fn prerouting(nat: &Nat) -> Vec<Rule> {
    let to_own_port = |forward: &Forward| {
        let to = forward.inner().range().map(|(port, _)| port);
        let rule = |set: Set, to: u16| {
            all([
                &expressions::to_this_host(),
                &expressions::of_family(set.family),
                &service(forward.at),
                &expressions::in_set(set, PortOf::Packet),
                &expressions::to_own_port(to),
            ])
        };
        let each = sets(Side::Local).zip(to.into_iter().cycle());
        each.map(|(set, to)| rule(set, to)).collect::<Vec<_>>()
    };
    let mut rules: Vec<Rule> = nat.redirects.iter().flat_map(to_own_port).collect();
    if !nat.hosts {
        return rules;
    }
    let redirect = |(map, matched): (Set, Rule)| {
        all([
            &expressions::to_this_host(),
            &matched,
            &expressions::redirect(map),
        ])
    };
    rules.extend(redirections().map(redirect));
    rules
}

/// The maps of redirected ports, each with what a packet must match first.
pub(super) fn redirections() -> impl Iterator<Item = (Set, Rule)> {
    Set::all().filter(|set| set.is_map()).map(|map| {
        // a map whose key has no source does not limit the sources, so a set must
        let sources = if map.kind == Kind::Exact {
            Vec::new()
        } else {
            let set = Set::new(Side::Redirect, Kind::Range, map.family);
            expressions::in_set(set, PortOf::Packet)
        };
        let family = expressions::of_family(map.family);
        (map, all([&family, &sources]))
    })
}

pub(super) fn postrouting() -> Vec<Rule> {
    sets(Side::Masquerade)
        .map(|set| {
            all([
                &expressions::translated(),
                &expressions::of_family(set.family),
                &expressions::in_set(set, PortOf::Packet),
                &[expressions::masquerade()],
            ])
        })
        .collect()
}
