//! Which rules the host's own chains need, so that every grant opens.

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::core::host_rules::accept_rules::{self, Change, Opening};
use crate::core::host_rules::{Hook, Packet, Ruleset, Unavoidable};
use crate::model::address::Family;
use crate::model::host_set::HostSet;
use crate::model::packet_mark::PacketMark;
use crate::model::service::Ports;
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
    interfaces: &[String],
    addresses: &[IpNet],
) -> Result<Plan, Unavoidable> {
    let mark = protection.packet_mark;
    let behind: Vec<Ports> = protection.behind.iter().map(|(_, ports)| *ports).collect();
    let behind = crate::model::service::joined(behind);
    let targets: Vec<IpNet> = protection
        .behind
        .iter()
        .map(|(network, _)| *network)
        .collect();
    let sets = sets_of_services(protection);
    let input = packets(
        &protection.grantable,
        mark,
        interfaces,
        addresses,
        Some(&sets),
    );
    let forward = packets(&behind, mark, interfaces, &targets, None);
    let opening = |hook, services, packets| Opening {
        hook,
        services,
        packets,
    };
    let input = opening(Hook::Input, &protection.grantable, &input);
    let established = accept_rules::may_cut_established(ruleset, mark, &input);
    let openings = [input, opening(Hook::Forward, &behind, &forward)];
    Ok(Plan {
        changes: accept_rules::changes(ruleset, mark, &openings)?,
        marking: Marking {
            early: accept_rules::drops_before_marking(ruleset, mark, &openings)?,
            established,
        },
    })
}

/// The sets that every grant of a service is added to.
pub(super) type Sets = BTreeMap<Ports, Vec<HostSet>>;

pub(super) fn sets_of_services(protection: &Protection) -> Sets {
    let mut sets = Sets::new();
    for ports in &protection.grantable {
        for service in protection
            .sets
            .iter()
            .filter(|one| one.has_all_grants_of(*ports))
        {
            sets.entry(*ports)
                .or_default()
                .extend_from_slice(&service.sets);
        }
    }
    sets
}

/// Granted packets of these services, as each interface receives them. Those to the gate itself have its sets.
pub(super) fn packets<'a>(
    services: &'a [Ports],
    mark: PacketMark,
    interfaces: &'a [String],
    destinations: &'a [IpNet],
    to_gate: Option<&'a Sets>,
) -> Vec<Packet<'a>> {
    let mut packets = Vec::new();
    for family in Family::BOTH {
        let foreign = family.pick("icmpv6", "icmp");
        for service in services
            .iter()
            .filter(|ports| ports.protocol_name() != foreign)
        {
            packets.extend(interfaces.iter().map(|interface| {
                Packet {
                    family,
                    service: *service,
                    original: None,
                    is_established: false,
                    source: None,
                    is_forwarded: to_gate.is_none(),
                    mark: mark.value,
                    interface,
                    destinations,
                    known_chains: &[],
                    sets: to_gate
                        .and_then(|sets| sets.get(service))
                        .map_or(&[], Vec::as_slice),
                }
            }));
        }
    }
    packets
}

/// `nft table inet filter, chain input: tcp dport 22 …`
pub(super) fn describe(changes: &[Change]) -> String {
    let named = changes
        .iter()
        .map(|change| format!("{}, chain {}: {}", change.table, change.chain, change.rule));
    named.collect::<Vec<_>>().join("; ")
}
