//! The table as it stands once set up: sets, chains and rules, as data.
//!
//! Owns what is let through and what is dropped, and in which order. Sends nothing: the driver puts all of this into one
//! batch, which the kernel takes as a whole or not at all. Pure.

use ipnet::IpNet;

use super::expr::{self, Expr};
use super::sets::{Kind, Set};
use crate::service::Ports;
use crate::settings::Protection;

/// The table, of family inet. It belongs to Postern alone: whatever else stands in it is removed by the next install.
pub(super) const TABLE: &str = "postern";
/// Before the chains of most hosts, which stand at 0. A packet that a rule here accepts still has to pass those.
pub(super) const PRIORITY: i32 = -10;
/// The chain that drops what is closed for everyone who has no grant.
const HIDDEN: &str = "hidden";

/// Where a chain is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    Input,
    Forward,
    /// Only from a rule of another chain.
    None,
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
    /// Networks behind the gate whose services are closed as the gate's own are.
    pub(super) hidden_targets: Vec<IpNet>,
}

/// The chains, each before those that jump to it.
pub(super) fn chains(wanted: &Wanted) -> Vec<Chain> {
    let mut chains = vec![
        Chain { name: HIDDEN, hook: Hook::None, rules: wanted.protection.services.iter().flat_map(|ports| closed(*ports)).collect() },
        Chain { name: "input", hook: Hook::Input, rules: input(wanted) },
    ];
    if wanted.protection.forwards {
        chains.push(Chain { name: "forward", hook: Hook::Forward, rules: forward(wanted) });
    }
    chains
}

fn input(wanted: &Wanted) -> Vec<Vec<Expr>> {
    // A dropped knock draws no "port unreachable" (invariant 9); the packet socket sees it before netfilter does.
    let verdict = || if wanted.protection.silence_knocks { expr::drop() } else { expr::accept() };
    let mut rules: Vec<Vec<Expr>> = wanted
        .protection
        .knock_ports
        .iter()
        .map(|port| all([&expr::protocol(expr::UDP), &expr::port(*port, *port), &[verdict()]]))
        .collect();
    // Connections that are older than connection tracking were made known to it before this stands.
    rules.push(all([&expr::established(), &[expr::accept()]]));
    rules.extend(granted(false));
    if !wanted.protection.services.is_empty() {
        rules.push(vec![expr::jump(HIDDEN)]);
    }
    rules
}

fn forward(wanted: &Wanted) -> Vec<Vec<Expr>> {
    let mut rules = vec![all([&expr::established(), &[expr::accept()]])];
    rules.extend(granted(true));
    rules.extend(wanted.hidden_targets.iter().map(|network| all([&expr::target_in(*network), &[expr::jump(HIDDEN)]])));
    rules
}

/// Accepts what holds a grant.
fn granted(forward: bool) -> impl Iterator<Item = Vec<Expr>> {
    let sets = Set::ALL.into_iter().filter(move |set| *set != Set::Record && set.forward() == forward);
    sets.map(|set| {
        let echo = if set.kind() == Kind::Icmp { expr::echo_request(set.v6()) } else { Vec::new() };
        all([&expr::family(set.v6()), &echo, &expr::in_set(set), &[expr::counter(), expr::accept()]])
    })
}

fn closed(ports: Ports) -> Vec<Vec<Expr>> {
    let verdict = [expr::counter(), expr::drop()];
    vec![match (ports.protocol_name(), ports.range()) {
        ("icmpv6", _) => all([&expr::echo_request(true), &verdict]),
        (_, None) => all([&expr::echo_request(false), &verdict]),
        (_, Some((first, last))) => all([&expr::protocol(ports.protocol()), &expr::port(first, last), &verdict]),
    }]
}

fn all<const N: usize>(parts: [&[Expr]; N]) -> Vec<Expr> {
    parts.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(services: &[&str]) -> Wanted {
        let services = services.iter().map(|text| text.parse().unwrap()).collect();
        let protection = Protection { services, knock_ports: vec![62201], silence_knocks: true, forwards: false };
        Wanted { protection, hidden_targets: vec!["10.0.0.0/24".parse().unwrap()] }
    }

    fn rules<'a>(chains: &'a [Chain], name: &str) -> &'a [Vec<Expr>] {
        &chains.iter().find(|chain| chain.name == name).unwrap().rules
    }

    #[test]
    fn grants_and_known_connections_are_let_through_before_anything_is_dropped() {
        let chains = chains(&wanted(&["tcp/22", "icmp"]));
        let input = rules(&chains, "input");
        assert_eq!(input[0].last(), Some(&expr::drop()), "the knock");
        assert_eq!(input.last().unwrap(), &[expr::jump(HIDDEN)]);
        let between = &input[1..input.len() - 1];
        assert_eq!(between.len(), 1 + 6);
        assert!(between.iter().all(|rule| rule.last() == Some(&expr::accept())));
        assert_eq!(rules(&chains, HIDDEN).len(), 2);
    }

    #[test]
    fn without_protection_nothing_is_dropped_and_a_bound_socket_gets_its_knocks() {
        let mut wanted = wanted(&[]);
        wanted.protection.silence_knocks = false;
        let chains = chains(&wanted);
        assert!(chains.iter().flat_map(|chain| &chain.rules).all(|rule| rule.last() == Some(&expr::accept())));
    }

    #[test]
    fn a_forward_chain_stands_only_where_some_user_may_reach_a_host_behind_the_gate() {
        let mut wanted = wanted(&["tcp/22"]);
        assert!(chains(&wanted).iter().all(|chain| chain.hook != Hook::Forward));
        wanted.protection.forwards = true;
        let chains = chains(&wanted);
        assert_eq!(rules(&chains, "forward").len(), 1 + 6 + 1);
        assert_eq!(rules(&chains, "forward").last().unwrap().last(), Some(&expr::jump(HIDDEN)));
    }
}
