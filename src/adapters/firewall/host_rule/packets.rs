//! Packets of grants, as the host's own chains see them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::adapters::firewall::host::Network;
use crate::core::host_rules::{Hook, Original, Packet, Ruleset};
use crate::model::address::Family;
use crate::model::host_set::HostSet;
use crate::model::packet_mark::PacketMark;
use crate::model::service::Ports;
use crate::model::settings::Protection;

/// The sets that every grant of a service is added to.
pub(super) type Sets = BTreeMap<Ports, Vec<HostSet>>;

pub(super) fn sets_of_services(protection: &Protection) -> Sets {
    let mut sets = Sets::new();
    // A grant of a redirect is in no set.
    let is_inner = |ports: &Ports| {
        let mut redirects = protection.forwards.iter().filter(|one| one.host.is_none());
        redirects.any(|one| one.inner().overlap(*ports).is_some())
    };
    for ports in protection.grantable.iter().filter(|ports| !is_inner(ports)) {
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

/// Granted packets of a service, in both families where it exists, as each interface receives them.
fn received<'a>(
    service: Ports,
    mark: PacketMark,
    network: &'a Network,
) -> impl Iterator<Item = Packet<'a>> {
    let exists = move |family: &Family| family.pick("icmpv6", "icmp") != service.protocol_name();
    Family::BOTH
        .into_iter()
        .filter(exists)
        .flat_map(move |family| {
            network.interfaces.iter().map(move |interface| Packet {
                family,
                service,
                original: None,
                is_established: false,
                source: None,
                is_forwarded: false,
                mark: mark.value,
                interface,
                out_interface: None,
                destinations: &network.addresses,
                known_chains: &[],
                sets: &[],
            })
        })
}

/// To the gate itself. A service with sets has no grants in a family that none of them takes.
pub(super) fn to_gate<'a>(
    ruleset: &Ruleset,
    protection: &Protection,
    network: &'a Network,
    sets: &'a Sets,
) -> Vec<Packet<'a>> {
    let families = ruleset.sets_for_grants();
    let may_hold = |set: &HostSet, packet: &Packet<'_>| {
        let family = families.get(set);
        family.is_none_or(|family| *family == packet.family)
    };
    let services = protection.grantable.iter();
    services
        .flat_map(|service| {
            let sets = sets.get(service).map_or(&[][..], Vec::as_slice);
            received(*service, protection.packet_mark, network)
                .map(move |packet| Packet { sets, ..packet })
        })
        .filter(|packet| {
            let mut sets = packet.sets.iter();
            packet.sets.is_empty() || sets.any(|set| may_hold(set, packet))
        })
        .collect()
}

/// What users may open behind the gate: the networks of each service, by the interface that leads there.
pub(super) type Behind<'a> = BTreeMap<(Option<&'a str>, Ports), Vec<IpNet>>;

pub(super) fn networks_behind<'a>(protection: &Protection, network: &'a Network) -> Behind<'a> {
    let mut behind = Behind::new();
    for (target, ports) in &protection.behind {
        let out = network.interface_to(*target);
        behind.entry((out, *ports)).or_default().push(*target);
    }
    behind
}

/// To hosts behind the gate.
pub(super) fn to_hosts_behind<'a>(
    behind: &'a Behind<'a>,
    mark: PacketMark,
    network: &'a Network,
) -> Vec<Packet<'a>> {
    let mut packets = Vec::new();
    for ((out_interface, service), targets) in behind {
        let has_target = |packet: &Packet<'_>| {
            let mut targets = targets.iter();
            targets.any(|target| Family::of_network(*target) == packet.family)
        };
        let received = received(*service, mark, network).filter(has_target);
        packets.extend(received.map(|packet| Packet {
            is_forwarded: true,
            destinations: targets,
            out_interface: *out_interface,
            ..packet
        }));
    }
    packets
}

/// A port of the gate that somebody translates: to another host, such as a container, or to another port.
#[derive(Debug)]
pub(super) struct Published<'a> {
    at: Packet<'a>,
    inner: Ports,
    /// `None` for the gate itself.
    to: Option<[IpNet; 1]>,
}

/// The translations of granted packets to the gate. Postern's own must not be in these rules.
pub(super) fn published<'a>(
    host: &Ruleset,
    to_gate: &[Packet<'a>],
    network: &Network,
) -> Vec<Published<'a>> {
    let is_own = |to: IpAddr| to.is_loopback() || network.addresses.contains(&IpNet::from(to));
    let translation = |packet: &Packet<'a>| {
        let mut steps = host.rewrite_chains(packet.family).into_iter();
        let rewrite = steps.find_map(|step| host.rewrite(step, packet))?;
        let to = rewrite.to.address.filter(|to| !is_own(*to));
        let inner = match rewrite.to.port {
            Some(port) => packet.service.moved_to(port)?,
            None => packet.service,
        };
        (to.is_some() || inner != packet.service).then(|| Published {
            at: packet.clone(),
            inner,
            to: to.map(|to| [IpNet::from(to)]),
        })
    };
    to_gate.iter().filter_map(translation).collect()
}

impl Published<'_> {
    pub(super) fn service(&self) -> Ports {
        self.at.service
    }

    pub(super) fn family(&self) -> Family {
        self.at.family
    }

    /// The hook that the packet passes.
    pub(super) fn hook(&self) -> Hook {
        match self.to {
            Some(_) => Hook::Forward,
            None => Hook::Input,
        }
    }

    /// The packet behind the translation.
    pub(super) fn packet<'a>(&'a self, network: &'a Network) -> Packet<'a> {
        let out = self.to.and_then(|[to]| network.interface_to(to));
        Packet {
            service: self.inner,
            original: Some(Original {
                service: self.at.service,
                destinations: self.at.destinations,
            }),
            is_forwarded: self.to.is_some(),
            destinations: self.to.as_ref().map_or(self.at.destinations, |to| to),
            out_interface: out,
            ..self.at.clone()
        }
    }
}
