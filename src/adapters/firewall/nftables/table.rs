//! The table's chains and rules: what is let through, what is dropped, and in which order. Pure.

use std::collections::BTreeSet;

use super::expressions::{self, Expression, PortOf};
use super::nat::{Nat, postrouting, prerouting, redirections};
use super::rule::{Chain, Hook, Rule, all, service, sets};
use super::sensor;
use super::sets::{Kind, Set, Side};
use crate::core::host_rules::accept_rules::MARKING_PRIORITY;
use crate::model::service::Ports;
use crate::model::settings::Protection;

/// The table, of family inet. Installation removes everything else in it.
pub(crate) const TABLE: &str = "postern";
const HIDDEN: &str = "hidden";
const HIDDEN_BEHIND: &str = "hidden_behind";
const PUBLISHED: &str = "published";

// Priorities are just before those of most hosts' chains. A packet that is accepted here still passes those.
const INPUT: Hook = hook(1, "filter", MARKING_PRIORITY);
const FORWARD: Hook = hook(2, "filter", MARKING_PRIORITY);
// After connection tracking, and before somebody translates the destination.
const BEFORE_TRANSLATION: Hook = hook(0, "filter", -105);
// Before the first chain, and behind the last one, that may have a rule for the packet mark.
const EARLY_INPUT: Hook = hook(1, "filter", i32::MIN);
const EARLY_FORWARD: Hook = hook(2, "filter", i32::MIN);
const AFTER_INPUT: Hook = hook(1, "filter", i32::MAX - 1);
const AFTER_FORWARD: Hook = hook(2, "filter", i32::MAX - 1);
const PREROUTING: Hook = hook(0, "nat", -110);
const POSTROUTING: Hook = hook(4, "nat", 90);

const fn hook(number: u32, kind: &'static str, priority: i32) -> Hook {
    Hook::Packet {
        number,
        kind,
        priority,
    }
}

/// The chains, each before those that jump to it.
pub(super) fn chains(protection: &Protection, nat: &Nat) -> Vec<Chain> {
    let mut chains = sensor::chains(protection);
    let mut add = |name, hook, rules| chains.push(Chain { name, hook, rules });
    let hidden = protection.services.iter();
    let hidden = hidden.flat_map(|ports| closed(&[], *ports, protection));
    add(HIDDEN, Hook::Jump, hidden.collect());
    add(PUBLISHED, Hook::Jump, published(protection));
    if protection.marking.early {
        let mut rules = early(Side::Gate, protection);
        rules.extend(redirected_here(protection, nat));
        add("early_input", EARLY_INPUT, rules);
    }
    add("input", INPUT, input(protection, nat));
    add("after_input", AFTER_INPUT, vec![unmark(protection)]);
    if !protection.services.is_empty() {
        let rules = before_translation(protection, nat);
        add("before_translation", BEFORE_TRANSLATION, rules);
    }
    let is_published = !protection.grantable.is_empty();
    if is_published || !protection.behind.is_empty() || nat.hosts {
        if hides_behind(protection) {
            let behind = protection.behind.iter();
            let rules = behind.flat_map(|(network, ports)| {
                closed(&expressions::target_in(*network), *ports, protection)
            });
            add(HIDDEN_BEHIND, Hook::Jump, rules.collect());
        }
        if protection.marking.early {
            let mut rules = early(Side::Forward, protection);
            if nat.hosts {
                rules.extend(redirected(protection));
            }
            add("early_forward", EARLY_FORWARD, rules);
        }
        add("forward", FORWARD, forward(protection, nat.hosts));
        add("after_forward", AFTER_FORWARD, vec![unmark(protection)]);
    }
    if nat.hosts || !nat.redirects.is_empty() {
        add("prerouting", PREROUTING, prerouting(nat));
    }
    if nat.hosts {
        add("postrouting", POSTROUTING, postrouting());
    }
    chains
}

fn input(protection: &Protection, nat: &Nat) -> Vec<Rule> {
    // A dropped knock gets no "port unreachable" (invariant 9). The packet socket sees it before netfilter does.
    let verdict = if protection.silence_knocks {
        expressions::drop()
    } else {
        expressions::accept()
    };
    let knock = |port: &u16| all([&to_knock_port(*port), std::slice::from_ref(&verdict)]);
    // A knock port may also be a granted service's, or that of a question which the gate asked.
    let mut rules = vec![unmark(protection)];
    let granted: Vec<Rule> = granted(Side::Gate, protection)
        .chain(redirected_here(protection, nat))
        .chain([to_published()])
        .collect();
    // Lookups cost time for each packet of a connection, and most hosts accept those anyway.
    rules.extend(if protection.marking.established {
        [granted, established()].concat()
    } else {
        [established(), granted].concat()
    });
    rules.extend(protection.socket_ports().map(to_socket));
    rules.extend(protection.knock_ports.iter().map(knock));
    rules.extend(sequence_ports(protection));
    if !protection.services.is_empty() {
        rules.push(vec![expressions::jump(HIDDEN)]);
    }
    rules
}

/// What a socket of this host receives is left to the host: a service on the knock port, or answers to its questions, also
/// without connection tracking.
fn to_socket(port: u16) -> Rule {
    all([
        &to_knock_port(port),
        &expressions::has_socket(),
        &[expressions::accept()],
    ])
}

/// Ports of sequences answer nobody, unless a socket of this host uses them.
fn sequence_ports(protection: &Protection) -> impl Iterator<Item = Rule> {
    let has_socket = expressions::has_socket();
    let accept = [&has_socket[..], &[expressions::accept()]].concat();
    let accept = protection.local_sockets.then_some(accept);
    protection.sequence_ports.iter().flat_map(move |ports| {
        let to_port = service(*ports);
        let accept = accept.iter().map(|accept| all([&to_port, accept]));
        let drop = all([&to_port, &[expressions::drop()]]);
        accept.chain([drop]).collect::<Vec<_>>()
    })
}

fn hides_behind(protection: &Protection) -> bool {
    protection.hide_behind && !protection.behind.is_empty()
}

/// Somebody may translate a port of the gate to another host, such as a container. The packet then never gets to the
/// input hook, so strangers' packets are dropped before.
fn before_translation(protection: &Protection, nat: &Nat) -> Vec<Rule> {
    let pass = [expressions::accept()];
    let mut rules = vec![all([&expressions::to_another_host(), &pass])];
    rules.extend(established());
    rules.extend(sets(Side::Gate).map(|set| all([&in_grants(set), &pass])));
    if !nat.redirects.is_empty() {
        rules.extend(sets(Side::Local).map(|set| all([&in_grants(set), &pass])));
    }
    if nat.hosts {
        rules.extend(
            redirections().map(|(map, matched)| all([&matched, &expressions::in_map(map), &pass])),
        );
    }
    let knock = protection.knock_ports.iter();
    rules.extend(knock.map(|port| all([&to_knock_port(*port), &pass])));
    let sequences = protection.sequence_ports.iter();
    rules.extend(sequences.map(|ports| all([&service(*ports), &pass])));
    rules.push(vec![expressions::jump(HIDDEN)]);
    rules
}

fn to_published() -> Rule {
    all([&expressions::translated(), &[expressions::jump(PUBLISHED)]])
}

/// Packets to a port of the gate that lead to another one. A packet that a stranger sends there directly has the port of
/// no grant.
fn redirected_here(protection: &Protection, nat: &Nat) -> Vec<Rule> {
    let protocols = nat.redirects.iter().map(|redirect| redirect.at.protocol());
    let protocols: BTreeSet<u8> = protocols.collect();
    let rule = |protocol: u8, set: Set| {
        all([
            &expressions::translated(),
            &by_port_of_sender(protocol, set),
            &marked_and_accepted(protection),
        ])
    };
    let each = protocols.iter();
    each.flat_map(|protocol| sets(Side::Local).map(move |set| rule(*protocol, set)))
        .collect()
}

/// nft before 1.1 loads a listed rule only if it names the protocol.
fn by_port_of_sender(protocol: u8, set: Set) -> Rule {
    all([
        &expressions::of_family(set.family),
        &expressions::protocol(protocol),
        &expressions::in_set(set, PortOf::Sender),
    ])
}

/// Packets to a port of the gate that somebody translated. The port is the one that the grant names.
fn published(protection: &Protection) -> Vec<Rule> {
    let with_port = protection.grantable.iter();
    let with_port = with_port.filter(|ports| ports.range().is_some());
    let protocols: BTreeSet<u8> = with_port.map(|ports| ports.protocol()).collect();
    let rule = |protocol: u8, set: Set| {
        all([
            &by_port_of_sender(protocol, set),
            &marked_and_accepted(protection),
        ])
    };
    let by_port = sets(Side::Gate).filter(|set| set.kind != Kind::Icmp);
    by_port
        .flat_map(|set| protocols.iter().map(move |protocol| rule(*protocol, set)))
        .collect()
}

/// Accepts packets of known connections.
fn established() -> Vec<Rule> {
    expressions::established()
        .map(|matches| all([&matches, &[expressions::accept()]]))
        .to_vec()
}

/// In nftables, an accept of one table does not override a drop of another. So these rules keep a packet from our own
/// drop and mark it, and leave established connections to the host's own rules.
fn forward(protection: &Protection, nat: bool) -> Vec<Rule> {
    let mut rules = vec![unmark(protection)];
    rules.extend(granted(Side::Forward, protection));
    if nat {
        rules.extend(redirected(protection));
    }
    rules.push(to_published());
    if hides_behind(protection) {
        let hidden = expressions::jump(HIDDEN_BEHIND);
        for matches in [
            &expressions::not_established()[..],
            &expressions::opens_tcp(),
        ] {
            rules.push(all([matches, std::slice::from_ref(&hidden)]));
        }
    }
    rules
}

/// Marks granted packets for chains that come before those that hide.
fn early(side: Side, protection: &Protection) -> Vec<Rule> {
    let mut rules = vec![unmark(protection)];
    rules.extend(granted(side, protection));
    rules.push(to_published());
    rules
}

fn redirected(protection: &Protection) -> impl Iterator<Item = Rule> {
    let redirected = granted(Side::Redirected, protection);
    redirected.map(|rule| all([&expressions::translated(), &rule]))
}

/// A packet that somebody else gave the mark of a grant loses it. Other values stay: netavark has a bit of its own there.
fn unmark(protection: &Protection) -> Rule {
    let mark = protection.packet_mark;
    all([
        &expressions::has_packet_mark(mark),
        &expressions::set_packet_mark(0, mark.mask),
    ])
}

/// Rules that let granted packets pass here, and mark them for the host's own chains.
fn granted(side: Side, protection: &Protection) -> impl Iterator<Item = Rule> {
    let verdict = marked_and_accepted(protection);
    sets(side).map(move |set| all([&in_grants(set), &verdict]))
}

pub(super) fn in_grants(set: Set) -> Rule {
    let echo = match set.kind {
        Kind::Icmp => expressions::echo_request(set.family),
        _ => Vec::new(),
    };
    all([
        &expressions::of_family(set.family),
        &echo,
        &expressions::in_set(set, PortOf::Packet),
    ])
}

fn marked_and_accepted(protection: &Protection) -> Rule {
    let mark = protection.packet_mark;
    all([
        &expressions::set_packet_mark(mark.value, mark.mask),
        &[expressions::counter(), expressions::accept()],
    ])
}

fn to_knock_port(port: u16) -> Rule {
    all([
        &expressions::protocol(expressions::UDP),
        &expressions::port(port, port),
    ])
}

fn closed(place: &[Expression], ports: Ports, protection: &Protection) -> Vec<Rule> {
    let service = service(ports);
    let log = protection.nflog_group.map(expressions::log_some);
    let log = log.map(|log| all([place, &service, &log]));
    let drop = [expressions::counter(), expressions::drop()];
    let drop = all([place, &service, &drop]);
    log.into_iter().chain([drop]).collect()
}
