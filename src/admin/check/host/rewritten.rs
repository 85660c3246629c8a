//! Ports that are rewritten before they reach Postern's rules: published by Docker, or redirected on this host.
//!
//! A rewritten packet meets no rule for its old port. A packet to a container does not even pass INPUT.

use std::net::IpAddr;

use ipnet::IpNet;

use super::view::{HostView, services_in};
use crate::admin::check::findings::Finding;
use crate::core::host_rules::{Hook, Judgement, Original, Packet, Rewrite, Table};
use crate::model::service::Ports;

/// Limit for the ports of one service that are tried one by one.
const MAX_PORTS: u16 = 256;

pub(super) fn findings(view: &HostView<'_>) -> Vec<Finding> {
    let services = view.own_services().into_iter();
    let services: Vec<Ports> = services.flat_map(each_port).collect();
    let rules = &view.host.rules;
    let mut findings = Vec::new();
    for family in view.families() {
        for step in rules.rewrite_chains(family) {
            for service in services_in(&services, family) {
                findings.extend(view.host.network.interfaces.iter().find_map(|interface| {
                    let packet = view.packet(family, service, interface);
                    let rewrite = rules.rewrite(step, &packet)?;
                    finding(view, &step.chain.table, &packet, &rewrite)
                }));
            }
        }
    }
    findings
}

fn each_port(service: Ports) -> Vec<Ports> {
    match service.range() {
        Some((first, last)) if first != last && last.saturating_sub(first) < MAX_PORTS => (first
            ..=last)
            .filter_map(|port| with_port(service, port))
            .collect(),
        _ => vec![service],
    }
}

fn with_port(service: Ports, port: u16) -> Option<Ports> {
    format!("{}/{port}", service.protocol_name()).parse().ok()
}

fn finding(
    view: &HostView<'_>,
    table: &Table,
    packet: &Packet<'_>,
    Rewrite { rule, to }: &Rewrite,
) -> Option<Finding> {
    let service = packet.service;
    let inner = match to.port {
        Some(port) => with_port(service, port)?,
        None => service,
    };
    let is_own = |address| {
        view.host
            .network
            .addresses
            .iter()
            .any(|own| own.addr() == address)
    };
    let is_outside = |address: &IpAddr| !address.is_loopback() && !is_own(*address);
    let outside = to.address.filter(is_outside);
    if outside.is_none() && inner == service {
        return None;
    }
    if is_closed(view, packet, inner, outside) {
        return None;
    }
    let Some(address) = outside else {
        let what = format!("{service} is not closed, and a grant does not open it");
        let why = format!("so Postern's rules see {inner}");
        let finding = Finding::warning("redirected", what)
            .detail(format!(
                "{rule} in {table} redirects it on this host, {why}"
            ))
            .detail(format!("name {inner} in `services` instead"));
        return Some(finding);
    };
    let is_docker = rule.ends_with(" of chain DOCKER")
        || rule.contains("-A DOCKER ")
        || table.name.starts_with("docker");
    let (id, how) = if is_docker {
        ("docker-published", "published by Docker")
    } else {
        ("published", "forwarded")
    };
    let finding = Finding::warning(id, format!("{service} is open to everyone without a knock"))
        .detail(format!(
            "it is {how} to {address} ({inner}) by {rule} in {table}"
        ))
        .detail("its packets pass FORWARD and never INPUT, where Postern closes services");
    Some(if is_docker {
        docker_cure(view, table, packet, inner, finding)
    } else {
        finding.detail("remove that rule, or let a proxy on this host serve the port")
    })
}

fn docker_cure(
    view: &HostView<'_>,
    table: &Table,
    packet: &Packet<'_>,
    inner: Ports,
    finding: Finding,
) -> Finding {
    let port_of = |service: Ports| service.range().map_or(0, |(first, _)| first);
    let port = port_of(packet.service);
    let inner = port_of(inner);
    let finding = finding
        .detail("write backend = \"auto\" in [firewall]: it closes and opens published ports")
        .detail("or run the container with --network host: Postern's rules then apply to it")
        .detail(format!(
            "or publish it with -p 127.0.0.1:{port}:{inner}: no other host then reaches it"
        ));
    let mut chains = view.host.rules.chains.iter();
    if !chains.any(|chain| chain.name == "DOCKER-USER" && chain.table.sees(packet.family)) {
        return finding;
    }
    let program = if table.is_nft() {
        "iptables"
    } else {
        &table.program
    };
    let interface = match packet.interface {
        "" => "eth0",
        name => name,
    };
    let command = format!(
        "{program} -I DOCKER-USER -i {interface} -p {} -m conntrack --ctorigdstport {port} --ctdir ORIGINAL -j DROP",
        packet.service.protocol_name()
    );
    finding
        .detail("this command closes it for everyone at once")
        .cured_by(vec![command])
}

/// Whether strangers' packets are dropped before or behind the translation. The nftables driver closes the outer port.
fn is_closed(
    view: &HostView<'_>,
    packet: &Packet<'_>,
    inner: Ports,
    outside: Option<IpAddr>,
) -> bool {
    if !view.is_iptables && view.settings.firewall.protect && !view.is_installed_at_all() {
        return true;
    }
    if view.is_iptables && outside.is_none() {
        return false;
    }
    let to = outside.map(|to| [IpNet::from(to)]);
    let out = to.and_then(|[to]| view.host.network.interface_to(to));
    let translated = Packet {
        out_interface: out,
        service: inner,
        original: Some(Original {
            service: packet.service,
            destinations: packet.destinations,
        }),
        destinations: to.as_ref().map_or(packet.destinations, |to| to),
        is_forwarded: outside.is_some(),
        ..packet.clone()
    };
    let hook = outside.map_or(Hook::Input, |_| Hook::Forward);
    matches!(
        view.host.rules.judge(hook, &translated),
        Judgement::Dropped(_)
    )
}
