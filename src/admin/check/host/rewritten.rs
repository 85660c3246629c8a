//! Ports that are rewritten before they reach Postern's rules: published by Docker and its like, or redirected on this host.
//!
//! Pure. A packet whose destination is rewritten never meets a rule for its old port; to a container it does not even pass INPUT.

use ipnet::IpNet;

use super::judge::{World, exists_in};
use super::rules::{Chain, Family, Hook, To};
use super::walk::{Fate, Packet, redirect};
use crate::admin::check::findings::Finding;
use crate::model::service::Ports;

pub(super) fn redirected(world: &World<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for family in world.families() {
        for chain in nat(world, family) {
            for service in world
                .own_services()
                .into_iter()
                .flat_map(each)
                .filter(|service| exists_in(*service, family))
            {
                let found = world.facts.interfaces.iter().find_map(|interface| {
                    let packet = world.packet(family, service, interface);
                    let (rule, to) = redirect(&world.facts.rules, chain, &packet)?;
                    told(world, chain, &packet, &rule, to)
                });
                findings.extend(found);
            }
        }
    }
    findings
}

fn nat<'a>(world: &World<'a>, family: Family) -> impl Iterator<Item = &'a Chain> {
    let chains = world
        .facts
        .rules
        .chains
        .iter()
        .filter(move |chain| chain.table.sees(family));
    chains.filter(|chain| {
        chain
            .base
            .is_some_and(|base| base.is_nat && base.hook == Hook::Prerouting)
    })
}

/// Most ports of one service that are looked at one by one.
const PORTS: u16 = 256;

fn each(service: Ports) -> Vec<Ports> {
    match service.range() {
        Some((first, last)) if first != last && last.saturating_sub(first) < PORTS => (first
            ..=last)
            .filter_map(|port| format!("{}/{port}", service.protocol_name()).parse().ok())
            .collect(),
        _ => vec![service],
    }
}

fn told(
    world: &World<'_>,
    chain: &Chain,
    packet: &Packet<'_>,
    rule: &str,
    to: To,
) -> Option<Finding> {
    let service = packet.service;
    let inner: Ports = match to.port {
        Some(port) => format!("{}/{port}", service.protocol_name()).parse().ok()?,
        None => service,
    };
    let table = &chain.table;
    let is_here = to.address.is_none_or(|address| {
        address.is_loopback()
            || world
                .facts
                .addresses
                .iter()
                .any(|own| own.addr() == address)
    });
    if is_here {
        let what = format!(
            "{service} is not closed and a grant does not open it: {rule} in {table} redirects it on this host, so that Postern's rules see {inner}; name {inner} in `services` instead"
        );
        return (inner != service).then(|| Finding::warning("redirected", what));
    }
    let address = to.address?;
    if is_closed_behind(world, packet, inner, IpNet::from(address)) {
        return None;
    }
    let is_docker = rule.contains("-A DOCKER ") || table.name.starts_with("docker");
    let (id, who) = if is_docker {
        ("docker-published", "published by Docker")
    } else {
        ("published", "forwarded")
    };
    let port = service.range().map_or(0, |(first, _)| first);
    let what = format!(
        "{service} is open to everyone, knock or not: it is {who} to {address} ({inner}) by {rule} in {table}, so its packets pass FORWARD and never INPUT, where Postern closes it"
    );
    if !is_docker {
        return Some(Finding::warning(
            id,
            format!("{what}; remove that rule, or let a proxy on this host serve the port"),
        ));
    }
    let close = format!(
        "{} -I DOCKER-USER -i {} -p {} -m conntrack --ctorigdstport {port} --ctdir ORIGINAL -j DROP",
        if table.is_nft() {
            "iptables"
        } else {
            &table.program
        },
        if packet.interface.is_empty() {
            "eth0"
        } else {
            packet.interface
        },
        service.protocol_name()
    );
    let what = format!(
        "{what}; run the container with --network host, and Postern's rules hold for it, or publish it with -p 127.0.0.1:{port}:{}, and nobody outside reaches it; the command closes it for everyone at once",
        inner.range().map_or(0, |(first, _)| first)
    );
    let has_chain = world
        .facts
        .rules
        .chains
        .iter()
        .any(|chain| chain.name == "DOCKER-USER" && chain.table.sees(packet.family));
    Some(Finding::warning(id, what).cured_by(if has_chain { vec![close] } else { Vec::new() }))
}

/// Whether the host drops strangers' packets on the way to the new destination.
fn is_closed_behind(world: &World<'_>, packet: &Packet<'_>, inner: Ports, to: IpNet) -> bool {
    let there = [to];
    let packet = Packet {
        service: inner,
        original: Some(packet.service),
        to: &there,
        ..packet.clone()
    };
    world
        .way(packet.family, Hook::Forward)
        .into_iter()
        .filter(|step| step.base.hook == Hook::Forward)
        .any(|step| matches!(world.fate(step, &packet), Fate::Dropped(_)))
}
