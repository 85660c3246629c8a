//! Sessions that end with their grant, or before: what the host does with packets of established connections.

use super::blocked::place;
use super::cure;
use super::view::{HostView, services_in};
use crate::admin::check::findings::Finding;
use crate::core::host_rules::{BaseChain, Hook, Judgement, Packet};
use crate::model::address::Family;
use crate::model::service::{Ports, list};
use crate::model::time::human;

pub(super) fn findings(view: &HostView<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for family in view.families() {
        let own = services_in(&view.own_services(), family);
        findings.extend(untracked(view, family, &own));
        findings.extend(cut(view, family, Hook::Input, &own));
        let behind = services_in(&view.forwarded_services(), family);
        findings.extend(cut(view, family, Hook::Forward, &behind));
    }
    findings.dedup();
    findings.extend(forgotten(view));
    let full = view.host.tracking.full();
    findings.extend(full.map(|what| Finding::warning("connection-table-full", what)));
    findings
}

fn untracked(view: &HostView<'_>, family: Family, services: &[Ports]) -> Option<Finding> {
    if !view.settings.firewall.protect {
        return None;
    }
    let chain_of = |service: &Ports| {
        let mut interfaces = view.host.network.interfaces.iter();
        interfaces.find_map(|interface| {
            let packet = view.packet(family, *service, interface);
            view.host.rules.untracked_by(&packet)
        })
    };
    let chains = services
        .iter()
        .filter_map(|one| Some((*one, chain_of(one)?)));
    let (services, chains): (Vec<Ports>, Vec<String>) = chains.unzip();
    let chain = chains.first()?;
    let what = format!("a session to {} ends with its grant", list(&services));
    let finding = Finding::warning("untracked", what)
        .detail(format!("{chain} exempts it from connection tracking"))
        .detail("a session that is open when posternd starts ends then")
        .detail("track these ports, or grant as long as the sessions last");
    Some(finding)
}

fn cut(view: &HostView<'_>, family: Family, hook: Hook, services: &[Ports]) -> Vec<Finding> {
    let targets = view.targets();
    let mut findings = Vec::new();
    for step in view.filter_chains(family, hook) {
        if HostView::is_postern(step.chain) {
            continue;
        }
        let dropping_rule = |service: Ports| {
            view.host.network.interfaces.iter().find_map(|interface| {
                let mut packet = Packet {
                    is_established: true,
                    ..view.packet(family, service, interface)
                };
                if hook == Hook::Forward {
                    packet.destinations = &targets;
                    packet.is_forwarded = true;
                }
                match view.host.rules.judge_chain(step, &packet) {
                    Judgement::Dropped(rule) => Some(rule),
                    Judgement::Accepted(_) | Judgement::CannotTell(_) => None,
                }
            })
        };
        let services = services.iter().copied();
        let cut = services.filter_map(|service| Some((service, dropping_rule(service)?)));
        let (services, rules): (Vec<Ports>, Vec<String>) = cut.unzip();
        if let Some(rule) = rules.first() {
            findings.push(no_established(view, step, hook, &services, rule));
        }
    }
    findings
}

fn no_established(
    view: &HostView<'_>,
    step: BaseChain<'_>,
    hook: Hook,
    services: &[Ports],
    rule: &str,
) -> Finding {
    let services = list(services);
    let what = match hook {
        // The rule for a grant accepts what clients send, and not what hosts behind the gate answer.
        Hook::Forward if !view.is_iptables => {
            format!("{services} of the hosts behind this one cannot answer")
        }
        Hook::Forward => format!(
            "a session to {services} of the hosts behind this one is cut when its grant ends"
        ),
        _ => format!("a session to {services} is cut when its grant ends"),
    };
    let why = "accepts no established connections before it drops";
    Finding::warning("no-established", what)
        .detail(format!("{}, {why}: {rule}", place(step)))
        .detail("accept them there")
        .cured_by(vec![cure::established(step.chain)])
}

fn forgotten(view: &HostView<'_>) -> Option<Finding> {
    let (remembers, keepalive) = view.host.tracking.forgetful()?;
    let remembers = human(remembers);
    let what = format!("a session that is idle for {remembers} is cut when its grant is over");
    let finding = Finding::warning("short-memory", what)
        .detail(format!(
            "the kernel forgets it then, and the first keepalive comes after {}",
            human(keepalive)
        ))
        .detail("raise net.netfilter.nf_conntrack_tcp_timeout_established, or set ClientAliveInterval in sshd_config")
        .cured_by(vec![
            "sysctl -w net.netfilter.nf_conntrack_tcp_timeout_established=432000".to_owned(),
        ]);
    Some(finding)
}
