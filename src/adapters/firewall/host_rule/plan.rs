//! Which rules the host's own chains need, so that every grant opens.

use super::packets::{self, networks_behind, published, sets_of_services};
use crate::adapters::firewall::host::Network;
use crate::core::host_rules::accept_rules::{self, Change, Opening, without_postern};
use crate::core::host_rules::{Hook, Packet, PortOf, Ruleset, Unavoidable};
use crate::model::service::{Ports, joined};
use crate::model::settings::{Marking, Protection};

/// What makes every grant open.
pub(crate) struct Plan {
    /// Changes in the host's chains.
    pub(crate) changes: Vec<Change>,
    pub(crate) marking: Marking,
}

pub(crate) fn plan(
    ruleset: &Ruleset,
    protection: &Protection,
    network: &Network,
) -> Result<Plan, Unavoidable> {
    let mark = protection.packet_mark;
    let sets = sets_of_services(protection);
    let to_gate = packets::to_gate(ruleset, protection, network, &sets);
    let networks = networks_behind(protection, network);
    let to_hosts = packets::to_hosts_behind(&networks, mark, network);
    let behind = joined(protection.behind.iter().map(|(_, ports)| *ports).collect());
    let published = published(&without_postern(ruleset, mark), &to_gate, network);
    let translated = |hook| {
        let here = published.iter().filter(move |one| one.hook() == hook);
        let ports: Vec<Ports> = here.clone().map(|one| one.service()).collect();
        let packets: Vec<Packet<'_>> = here.map(|one| one.packet(network)).collect();
        (joined(ports), packets)
    };
    let redirected = translated(Hook::Input);
    let outer = translated(Hook::Forward);
    let opening = |hook, port, services, packets| Opening {
        hook,
        port,
        services,
        packets,
    };
    let input = opening(Hook::Input, PortOf::Packet, &protection.grantable, &to_gate);
    let behind = opening(Hook::Forward, PortOf::Packet, &behind, &to_hosts);
    let established = accept_rules::may_cut_established(ruleset, &input);
    let established_behind = accept_rules::may_cut_established(ruleset, &behind);
    let openings = [
        input,
        opening(Hook::Input, PortOf::Sender, &redirected.0, &redirected.1),
        behind,
        opening(Hook::Forward, PortOf::Sender, &outer.0, &outer.1),
    ];
    Ok(Plan {
        changes: accept_rules::changes(ruleset, mark, &openings)?,
        marking: Marking {
            early: accept_rules::drops_before_marking(ruleset, mark, &openings)?,
            established,
            established_behind,
        },
    })
}

/// `nft table inet filter, chain input: tcp dport 22 …`
pub(super) fn describe(changes: &[Change]) -> String {
    let named = changes
        .iter()
        .map(|change| format!("{}, chain {}: {}", change.table, change.chain, change.rule));
    named.collect::<Vec<_>>().join("; ")
}
