//! The table as it stands once set up: sets, chains and rules, as data.
//!
//! Owns what is let through and what is dropped, and in which order. Sends nothing: the driver puts all of this into one
//! batch, which the kernel takes as a whole or not at all. Pure.

use super::expr::{self, Expr};
use super::sets::{Door, Kind, Set};
use crate::model::service::Ports;
use crate::model::settings::Protection;

/// The table, of family inet. It belongs to Postern alone: whatever else stands in it is removed by the next install.
pub(super) const TABLE: &str = "postern";
/// The chain that drops what is closed for everyone who has no grant.
const HIDDEN: &str = "hidden";
/// The same for hosts behind the gate.
const HIDDEN_BEHIND: &str = "hidden_behind";

/// Where a chain is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    Input,
    Forward,
    Prerouting,
    Postrouting,
    /// Only from a rule of another chain.
    None,
}

impl Hook {
    /// The kernel's name of the kind of chain, and its priority: before the chains of most hosts, which stand at 0, -100 and 100.
    /// A packet that a rule here accepts still has to pass those.
    pub(super) fn kind_and_priority(self) -> (&'static str, i32) {
        match self {
            Self::Input | Self::Forward | Self::None => ("filter", -10),
            Self::Prerouting => ("nat", -110),
            Self::Postrouting => ("nat", 90),
        }
    }
}

/// A chain and its rules; the policy of each is accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) name: &'static str,
    pub(super) hook: Hook,
    pub(super) rules: Vec<Vec<Expr>>,
}

/// What the host and its config want of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) protection: Protection,
    /// Whether ports of the gate may lead to hosts behind it.
    pub(super) nat: bool,
}

/// The chains, each before those that jump to it.
pub(super) fn chains(wanted: &Wanted) -> Vec<Chain> {
    let protection = &wanted.protection;
    let mut chains = vec![
        Chain {
            name: HIDDEN,
            hook: Hook::None,
            rules: protection
                .services
                .iter()
                .map(|ports| closed(*ports))
                .collect(),
        },
        Chain {
            name: "input",
            hook: Hook::Input,
            rules: input(wanted),
        },
    ];
    if !protection.behind.is_empty() || wanted.nat {
        if protection.hide_behind {
            let rules = protection
                .behind
                .iter()
                .map(|(network, ports)| all([&expr::target_in(*network), &closed(*ports)]));
            chains.push(Chain {
                name: HIDDEN_BEHIND,
                hook: Hook::None,
                rules: rules.collect(),
            });
        }
        chains.push(Chain {
            name: "forward",
            hook: Hook::Forward,
            rules: forward(wanted),
        });
    }
    if wanted.nat {
        chains.push(Chain {
            name: "prerouting",
            hook: Hook::Prerouting,
            rules: prerouting(),
        });
        chains.push(Chain {
            name: "postrouting",
            hook: Hook::Postrouting,
            rules: postrouting(),
        });
    }
    chains
}

fn input(wanted: &Wanted) -> Vec<Vec<Expr>> {
    // A dropped knock draws no "port unreachable" (invariant 9); the packet socket sees it before netfilter does.
    let verdict = || {
        if wanted.protection.silence_knocks {
            expr::drop()
        } else {
            expr::accept()
        }
    };
    let mut rules: Vec<Vec<Expr>> = wanted
        .protection
        .knock_ports
        .iter()
        .map(|port| {
            all([
                &expr::protocol(expr::UDP),
                &expr::port(*port, *port),
                &[verdict()],
            ])
        })
        .collect();
    // Connections that are older than connection tracking were made known to it before this stands.
    rules.push(all([&expr::established(), &[expr::accept()]]));
    rules.extend(granted(Door::Gate));
    if !wanted.protection.services.is_empty() {
        rules.push(vec![expr::jump(HIDDEN)]);
    }
    rules
}

/// In nftables an accept of one table opens nothing that another one drops: the rules here spare a packet from our own drop, and all
/// that is established is left to the host's own rules.
fn forward(wanted: &Wanted) -> Vec<Vec<Expr>> {
    let mut rules: Vec<Vec<Expr>> = granted(Door::Behind).collect();
    if wanted.nat {
        rules.extend(granted(Door::Through).map(|rule| all([&expr::translated(), &rule])));
    }
    if wanted.protection.hide_behind {
        rules.push(all([
            &expr::not_established(),
            &[expr::jump(HIDDEN_BEHIND)],
        ]));
    }
    rules
}

/// Only packets to the gate itself: what passes through it to another host's port of the same number is none of ours.
fn prerouting() -> Vec<Vec<Expr>> {
    let maps = Set::ALL
        .into_iter()
        .filter(|set| set.data_fields().is_some());
    maps.map(|map| {
        // a map that is asked for the port alone does not say who may
        let whose = sets(Door::Led)
            .filter(|who| who.v6() == map.v6() && map.fields().first() != who.fields().first());
        let led: Vec<Expr> = whose.flat_map(expr::in_set).collect();
        all([
            &expr::to_this_host(),
            &expr::family(map.v6()),
            &led,
            &expr::lead_by(map),
        ])
    })
    .collect()
}

fn postrouting() -> Vec<Vec<Expr>> {
    let sets = sets(Door::Masquerade);
    sets.map(|set| {
        all([
            &expr::translated(),
            &expr::family(set.v6()),
            &expr::in_set(set),
            &[expr::masquerade()],
        ])
    })
    .collect()
}

/// Accepts what holds a grant.
fn granted(door: Door) -> impl Iterator<Item = Vec<Expr>> {
    sets(door).map(|set| {
        let echo = if set.kind() == Kind::Icmp {
            expr::echo_request(set.v6())
        } else {
            Vec::new()
        };
        all([
            &expr::family(set.v6()),
            &echo,
            &expr::in_set(set),
            &[expr::counter(), expr::accept()],
        ])
    })
}

fn sets(door: Door) -> impl Iterator<Item = Set> {
    Set::ALL
        .into_iter()
        .filter(move |set| set.door() == Some(door))
}

fn closed(ports: Ports) -> Vec<Expr> {
    let verdict = [expr::counter(), expr::drop()];
    match (ports.protocol_name(), ports.range()) {
        ("icmpv6", _) => all([&expr::echo_request(true), &verdict]),
        (_, None) => all([&expr::echo_request(false), &verdict]),
        (_, Some((first, last))) => all([
            &expr::protocol(ports.protocol()),
            &expr::port(first, last),
            &verdict,
        ]),
    }
}

fn all<const N: usize>(parts: [&[Expr]; N]) -> Vec<Expr> {
    parts.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(services: &[&str]) -> Wanted {
        let services = services.iter().map(|text| text.parse().unwrap()).collect();
        let protection = Protection {
            services,
            knock_ports: vec![62201],
            silence_knocks: true,
            hide_behind: true,
            ..Protection::default()
        };
        Wanted {
            protection,
            nat: false,
        }
    }

    fn rules<'a>(chains: &'a [Chain], name: &str) -> &'a [Vec<Expr>] {
        &chains
            .iter()
            .find(|chain| chain.name == name)
            .unwrap()
            .rules
    }

    #[test]
    fn grants_and_known_connections_are_let_through_before_anything_is_dropped() {
        let chains = chains(&wanted(&["tcp/22", "icmp"]));
        let input = rules(&chains, "input");
        assert_eq!(input[0].last(), Some(&expr::drop()), "the knock");
        assert_eq!(input.last().unwrap(), &[expr::jump(HIDDEN)]);
        let between = &input[1..input.len() - 1];
        assert_eq!(between.len(), 1 + 6);
        assert!(
            between
                .iter()
                .all(|rule| rule.last() == Some(&expr::accept()))
        );
        assert_eq!(rules(&chains, HIDDEN).len(), 2);
    }

    #[test]
    fn without_protection_nothing_is_dropped_and_a_bound_socket_gets_its_knocks() {
        let mut wanted = wanted(&[]);
        wanted.protection.silence_knocks = false;
        let chains = chains(&wanted);
        assert!(
            chains
                .iter()
                .flat_map(|chain| &chain.rules)
                .all(|rule| rule.last() == Some(&expr::accept()))
        );
    }

    #[test]
    fn a_forward_chain_stands_only_where_some_user_may_reach_a_host_behind_the_gate() {
        let mut wanted = wanted(&["tcp/22"]);
        assert!(
            chains(&wanted)
                .iter()
                .all(|chain| chain.hook != Hook::Forward)
        );
        wanted.protection.behind =
            vec![("10.0.0.0/24".parse().unwrap(), "tcp/22".parse().unwrap())];
        let closing = chains(&wanted);
        let forward = rules(&closing, "forward");
        assert_eq!(
            (forward.len(), rules(&closing, HIDDEN_BEHIND).len()),
            (6 + 1, 1)
        );
        assert_eq!(
            forward.last().unwrap().last(),
            Some(&expr::jump(HIDDEN_BEHIND))
        );
        assert!(
            forward[..6]
                .iter()
                .all(|rule| rule.last() == Some(&expr::accept())),
            "only what holds a grant is let through"
        );
        wanted.protection.hide_behind = false;
        assert!(
            chains(&wanted)
                .iter()
                .all(|chain| chain.name != HIDDEN_BEHIND)
        );
        assert_eq!(rules(&chains(&wanted), "forward").len(), 6);
    }

    #[test]
    fn addresses_are_translated_only_where_some_service_forwards_and_only_for_the_gates_own() {
        let mut wanted = wanted(&["tcp/22"]);
        assert!(
            chains(&wanted)
                .iter()
                .all(|chain| chain.hook.kind_and_priority().0 == "filter")
        );
        wanted.nat = true;
        let chains = chains(&wanted);
        assert_eq!(
            (
                rules(&chains, "prerouting").len(),
                rules(&chains, "postrouting").len(),
                rules(&chains, "forward").len()
            ),
            (6, 4, 6 + 4 + 1)
        );
        assert!(
            rules(&chains, "prerouting")
                .iter()
                .all(|rule| rule.starts_with(&expr::to_this_host()))
        );
    }
}
