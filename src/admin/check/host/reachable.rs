//! Services that a stranger can reach without a knock.
//!
//! With protection, Postern's own rules are judged too, so that a jump in the wrong place is found.

use ipnet::IpNet;

use super::view::{HostView, services_in};
use crate::admin::check::findings::Finding;
use crate::core::host_rules::{Hook, Judgement, NO_RULE, Packet};
use crate::model::address::Family;
use crate::model::service::{Ports, list};

struct Open {
    service: Ports,
    family: Family,
    rule: String,
    interfaces: Vec<String>,
}

pub(super) fn findings(view: &HostView<'_>) -> Vec<Finding> {
    let mut unclear = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let will_be_closed = view.settings.firewall.protect && !view.is_installed_at_all();
    for family in view.families() {
        if will_be_closed && !view.lacks_program(family) {
            continue;
        }
        for service in services_in(&view.own_services(), family) {
            for interface in &view.host.network.interfaces {
                let packet = view.packet(family, service, interface);
                let is_known = |one: &&mut Open| one.service == service && one.family == family;
                match view.host.rules.judge(Hook::Input, &packet) {
                    Judgement::Dropped(_) => {}
                    Judgement::Accepted(rule) => match open.iter_mut().find(is_known) {
                        Some(known) => known.interfaces.push(interface.clone()),
                        None => open.push(Open {
                            service,
                            family,
                            rule,
                            interfaces: vec![interface.clone()],
                        }),
                    },
                    Judgement::CannotTell(rule) => {
                        unclear.push(cannot_tell(service, family, &rule))
                    }
                }
            }
        }
    }
    unclear.dedup();
    unclear.extend(open_findings(view, &open));
    unclear.extend(
        view.families()
            .into_iter()
            .filter_map(|family| behind(view, family)),
    );
    unclear
}

/// Hidden services of hosts behind the gate that a rule before Postern's lets through.
fn behind(view: &HostView<'_>, family: Family) -> Option<Finding> {
    let protection = view.settings.protection();
    if !protection.hide_behind || !view.is_installed(family) {
        return None;
    }
    let of_family = |(network, _): &&(IpNet, Ports)| Family::of_network(*network) == family;
    let hidden = protection.behind.iter().filter(of_family);
    let open = hidden.filter_map(|(network, service)| {
        let mut interfaces = view.host.network.interfaces.iter();
        let rule = interfaces.find_map(|interface| {
            let packet = Packet {
                is_forwarded: true,
                destinations: std::slice::from_ref(network),
                ..view.packet(family, *service, interface)
            };
            match view.host.rules.judge(Hook::Forward, &packet) {
                Judgement::Accepted(rule) => Some(rule),
                Judgement::Dropped(_) | Judgement::CannotTell(_) => None,
            }
        });
        Some((format!("{service} at {network}"), rule?))
    });
    let (services, rules): (Vec<String>, Vec<String>) = open.unzip();
    let rule = rules.first()?;
    let services = list(&services);
    let what = format!("{services} can be reached without a knock over {family}");
    let finding = Finding::warning("reachable", what)
        .detail(format!("{rule} accepts it before Postern's rules"));
    let program = family.pick("iptables", "ip6tables");
    Some(if view.is_iptables {
        finding
            .detail("put the jump first; posternd also does so")
            .cured_by(vec![format!("{program} -I FORWARD 1 -j POSTERN-FWD")])
    } else {
        finding.detail("start posternd again, so that its rules match the config")
    })
}

fn cannot_tell(service: Ports, family: Family, rule: &str) -> Finding {
    let what = format!("cannot tell whether {service} is closed to strangers over {family}");
    let why = "decides, with a condition that posternd does not understand";
    Finding::note("unclear", what).detail(format!("{rule} {why}"))
}

fn open_findings(view: &HostView<'_>, open: &[Open]) -> Vec<Finding> {
    let of =
        |family: Family| -> Vec<&Open> { open.iter().filter(|one| one.family == family).collect() };
    let (v4, v6) = (of(Family::V4), of(Family::V6));
    let is_only_v6 = |one: &&&Open| {
        view.host.has(Family::V4) && !v4.iter().any(|other| other.service == one.service)
    };
    let only_v6: Vec<&Open> = v6.iter().filter(is_only_v6).copied().collect();
    let mut findings = Vec::new();
    if !v4.is_empty() {
        findings.push(finding(view, "reachable", Family::V4, &v4));
    }
    // What is open over both families has one cure. What is open over IPv6 only is easily overlooked.
    if !only_v6.is_empty() {
        findings.push(finding(view, "ipv6-open", Family::V6, &only_v6));
    } else if v4.is_empty() && !v6.is_empty() {
        findings.push(finding(view, "reachable", Family::V6, &v6));
    }
    findings
}

fn finding(view: &HostView<'_>, id: &'static str, family: Family, open: &[&Open]) -> Finding {
    let services: Vec<Ports> = open.iter().map(|one| one.service).collect();
    let first = open.first();
    let rule = first.map_or(NO_RULE, |one| one.rule.as_str());
    let by = first.filter(|one| one.interfaces.len() < view.host.network.interfaces.len());
    let by = by.map(|one| format!(" by {}", list(&one.interfaces)));
    let only = match id {
        "ipv6-open" => ", though not over IPv4",
        _ => "",
    };
    let (services_text, by) = (list(&services), by.unwrap_or_default());
    let what = format!("{services_text} can be reached without a knock over {family}{by}{only}");
    let mut finding = Finding::warning(id, what);
    if let Some(socket) = services.iter().find_map(|service| view.listens(*service)) {
        finding = finding.detail(format!("a socket listens on {socket}"));
    }
    if !view.settings.firewall.protect {
        let cause = match rule {
            NO_RULE => "no rule of the host closes it".to_owned(),
            rule => format!("{rule} accepts it"),
        };
        let cure = "set protect = \"services\" in [firewall], or close it with a rule of your own";
        return finding
            .detail(format!("firewall.protect is \"none\", and {cause}"))
            .detail(cure);
    }
    if view.lacks_program(family) {
        return finding
            .detail("ip6tables-restore is not installed, so Postern closes nothing over IPv6")
            .detail("install it, or set backend = \"nftables\"; then start posternd again")
            .cured_by(vec!["apt-get install iptables".to_owned()]);
    }
    misplaced(view, family, finding, rule)
}

/// Postern's rules are installed, but do not close the service.
fn misplaced(view: &HostView<'_>, family: Family, finding: Finding, rule: &str) -> Finding {
    let home = view
        .filter_chains(family, Hook::Input)
        .into_iter()
        .find(|step| step.base.hook == Hook::Input && view.is_home(step.chain))
        .filter(|_| view.is_iptables && view.is_installed(family));
    let jump = home.map(|home| {
        let program = &home.chain.table.program;
        let command = vec![format!("{program} -I INPUT 1 -j POSTERN")];
        (HostView::jump(home.chain), program, command)
    });
    match jump {
        None | Some((Some(0), ..)) => finding
            .detail("Postern's rules do not close it yet")
            .detail("start posternd again, so that its rules match the config"),
        Some((None, program, command)) => {
            let what = "chain POSTERN exists, but no rule of INPUT jumps to it";
            finding
                .detail(format!("{what} ({program})"))
                .cured_by(command)
        }
        Some((Some(_), _, command)) => finding
            .detail(format!(
                "the jump to POSTERN is not the first rule of INPUT, and {rule} comes before it"
            ))
            .detail("put the jump first; posternd also does so when it starts")
            .cured_by(command),
    }
}
