//! The chains of the live table: which packets get the mark that makes grants count, and which have a grant in a set. Pure.

use super::expressions::{self, PortOf};
use super::rule::{Chain, Hook, Rule, all, service};
use super::sets::{Set, Side};
use super::table::in_grants;
use crate::core::host_rules::accept_rules::MARKING_PRIORITY;
use crate::model::packet_mark::PacketMark;
use crate::model::settings::Protection;

const GRANTS: &str = "grants";
const FORWARD_GRANTS: &str = "forward_grants";

// Translation of addresses is at -100.
const BEFORE_TRANSLATION: i32 = -101;
const AFTER_TRANSLATION: i32 = -99;
const AFTER_ALL: i32 = i32::MAX - 1;

/// Others may still need what they wrote into the same bits, except in packets that get in with a grant only.
pub(super) fn chains(protection: &Protection, nat: bool) -> Vec<Chain> {
    let mark = protection.packet_mark;
    let (live, in_set) = (mark.live(), mark.in_set());
    let none = PacketMark { value: 0, ..mark };
    let set = all([
        &expressions::in_set(Set::LIVE, PortOf::Packet),
        &expressions::set_packet_mark(live.value, live.mask),
    ]);
    let hidden = protection.services.iter();
    let hidden = hidden.map(|ports| all([&service(*ports), &set]));
    let behind = protection.behind.iter().filter(|_| protection.hide_behind);
    let behind = behind.map(|(network, ports)| {
        let target = expressions::target_in(*network);
        all([&target, &service(*ports), &set])
    });
    let marking = |granted: Vec<Rule>, closed: Vec<Rule>| {
        let unused = all([&expressions::has_packet_mark(none), &set]);
        [
            &[clear(in_set), clear(mark)],
            &granted[..],
            &closed,
            &[unused],
        ]
        .concat()
    };
    let compare = |granted, all| {
        if all {
            vec![vec![expressions::jump(granted)]]
        } else {
            new_only(granted)
        }
    };
    let marked = &protection.marking;
    let input = marking(compare(GRANTS, marked.established), hidden.collect());
    let forward = marking(
        compare(FORWARD_GRANTS, marked.established_behind),
        behind.collect(),
    );
    let cleared = vec![clear(live), clear(in_set), clear(mark)];
    let mut chains = vec![
        granted(GRANTS, Side::Gate, in_set),
        granted(FORWARD_GRANTS, Side::Forward, in_set),
        chain("input", 1, MARKING_PRIORITY, input),
        chain("after_input", 1, AFTER_ALL, cleared.clone()),
        chain("forward", 2, MARKING_PRIORITY, forward),
        chain("after_forward", 2, AFTER_ALL, cleared),
    ];
    if nat {
        let (before, after) = (BEFORE_TRANSLATION, AFTER_TRANSLATION);
        let prerouting = marking(Vec::new(), Vec::new());
        chains.extend([
            chain("prerouting", 0, before, prerouting),
            chain("after_prerouting", 0, after, vec![clear(live)]),
        ]);
    }
    chains
}

fn chain(name: &'static str, number: u32, priority: i32, rules: Vec<Rule>) -> Chain {
    let hook = Hook::Packet {
        number,
        kind: "filter",
        priority,
    };
    Chain { name, hook, rules }
}

/// Gives packets the mark `in_set` if a set of this side holds their grant, and leaves them to the rules of iptables.
fn granted(name: &'static str, side: Side, in_set: PacketMark) -> Chain {
    let mark = expressions::set_packet_mark(in_set.value, in_set.mask);
    let sets = Set::all_live().filter(|set| set.side == side);
    let rules = sets.map(|set| all([&in_grants(set), &mark, &[expressions::accept()]]));
    Chain {
        name,
        hook: Hook::Jump,
        rules: rules.collect(),
    }
}

/// As the rules of iptables that compare packets with grants: most hosts accept the packets of known connections anyway.
fn new_only(granted: &str) -> Vec<Rule> {
    let jump = [expressions::jump(granted)];
    [
        &expressions::not_established()[..],
        &expressions::opens_tcp(),
    ]
    .map(|matches| all([matches, &jump]))
    .to_vec()
}

fn clear(mark: PacketMark) -> Rule {
    all([
        &expressions::has_packet_mark(mark),
        &expressions::set_packet_mark(0, mark.mask),
    ])
}
