//! Ports that are rewritten before they reach Postern's rules: published by Docker, or redirected on this host.
//!
//! A rewritten packet meets no rule for its old port. A packet to a container does not even pass INPUT.

use std::net::IpAddr;

use ipnet::IpNet;

use super::view::{HostView, services_in};
use crate::admin::check::findings::Finding;
use crate::core::host_rules::{Hook, Judgement, Packet, Rewrite, Table};
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
                findings.extend(view.host.interfaces.iter().find_map(|interface| {
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
    let is_own = |address| view.host.addresses.iter().any(|own| own.addr() == address);
    let is_outside = |address: &IpAddr| !address.is_loopback() && !is_own(*address);
    let Some(address) = to.address.filter(is_outside) else {
        return (inner != service).then(|| {
            let what = format!("{service} is not closed, and a grant does not open it");
            let why = format!("so Postern's rules see {inner}");
            Finding::warning("redirected", what)
                .detail(format!(
                    "{rule} in {table} redirects it on this host, {why}"
                ))
                .detail(format!("name {inner} in `services` instead"))
        });
    };
    if is_closed_behind(view, packet, inner, address.into()) {
        return None;
    }
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
        .detail("run the container with --network host: Postern's rules then apply to it")
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

/// Whether the host drops strangers' packets on the way to the new destination.
fn is_closed_behind(view: &HostView<'_>, packet: &Packet<'_>, inner: Ports, to: IpNet) -> bool {
    let packet = Packet {
        service: inner,
        original: Some(packet.service),
        destinations: &[to],
        is_forwarded: true,
        ..packet.clone()
    };
    let steps = view.filter_chains(packet.family, Hook::Forward).into_iter();
    let mut steps = steps.filter(|step| step.base.hook == Hook::Forward);
    steps.any(|step| {
        let judgement = view.host.rules.judge_chain(step, &packet);
        matches!(judgement, Judgement::Dropped(_))
    })
}
