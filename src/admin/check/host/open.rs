//! Services that a stranger can reach without a knock.
//!
//! Pure. With protection, Postern's own rules are judged as they stand, so that one that comes too late is seen; without, the host's.

use super::judge::{Step, World, exists_in};
use super::rules::{Family, Hook};
use super::walk::Fate;
use crate::admin::check::findings::Finding;
use crate::model::service::{Ports, list};

/// What a stranger's packet meets on its whole way.
enum Way {
    Closed,
    /// What let it through last.
    Open(String),
    Unclear(String),
}

/// A service, and why it can be reached.
struct Open {
    service: Ports,
    family: Family,
    why: String,
    interfaces: Vec<String>,
}

pub(super) fn reachable(world: &World<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let stands = Family::BOTH.into_iter().any(|family| world.stands(family));
    for family in world.families() {
        let lacks_program = world.is_iptables && family == Family::V6 && !world.facts.has_ip6tables;
        if world.settings.firewall.protect && !stands && !lacks_program {
            // All of it is about to be closed.
            continue;
        }
        for service in world
            .own_services()
            .into_iter()
            .filter(|service| exists_in(*service, family))
        {
            for interface in &world.facts.interfaces {
                match way(world, family, service, interface) {
                    Way::Closed => {}
                    Way::Open(why) => match open
                        .iter_mut()
                        .find(|known| known.service == service && known.family == family)
                    {
                        Some(known) => known.interfaces.push(interface.clone()),
                        None => open.push(Open {
                            service,
                            family,
                            why,
                            interfaces: vec![interface.clone()],
                        }),
                    },
                    Way::Unclear(why) => {
                        let what = format!(
                            "whether {service} is closed to strangers over {family} can't be told: it depends on {why}, and on a condition that posternd does not understand"
                        );
                        findings.push(Finding::note("unclear", what));
                    }
                }
            }
        }
    }
    findings.dedup();
    findings.extend(told(world, &open));
    findings
}

fn way(world: &World<'_>, family: Family, service: Ports, interface: &str) -> Way {
    let packet = world.packet(family, service, interface);
    let mut open = "no rule".to_owned();
    let mut unclear = None;
    for step in world.way(family, Hook::Input) {
        match world.fate(step, &packet) {
            Fate::Dropped(_) => return Way::Closed,
            Fate::Depends(why) => {
                unclear = unclear.or(Some(format!("{why} in {}", step.chain.table)))
            }
            Fate::Accepted(why) => open = format!("{why} in {}", step.chain.table),
        }
    }
    unclear.map_or(Way::Open(open), Way::Unclear)
}

fn told(world: &World<'_>, open: &[Open]) -> Vec<Finding> {
    let of = |family: Family| open.iter().filter(move |one| one.family == family);
    let (v4, v6): (Vec<&Open>, Vec<&Open>) = (of(Family::V4).collect(), of(Family::V6).collect());
    let only_v6: Vec<&Open> = v6
        .iter()
        .copied()
        .filter(|one| {
            world.facts.has(Family::V4) && !v4.iter().any(|other| other.service == one.service)
        })
        .collect();
    let mut findings = Vec::new();
    if !v4.is_empty() {
        findings.push(finding(world, "reachable", Family::V4, &v4));
    }
    // What is open over IPv6 too has the same cure; what is open only there is easily overlooked.
    if !only_v6.is_empty() {
        findings.push(finding(world, "ipv6-open", Family::V6, &only_v6));
    } else if v4.is_empty() && !v6.is_empty() {
        findings.push(finding(world, "reachable", Family::V6, &v6));
    }
    findings
}

fn finding(world: &World<'_>, id: &'static str, family: Family, open: &[&Open]) -> Finding {
    let services: Vec<Ports> = open.iter().map(|one| one.service).collect();
    let first = open.first();
    let why = first.map_or("no rule", |one| one.why.as_str());
    let by = first
        .filter(|one| one.interfaces.len() < world.facts.interfaces.len())
        .map(|one| format!(" by {}", list(&one.interfaces)));
    let only = if id == "ipv6-open" {
        ", though not over IPv4"
    } else {
        ""
    };
    let socket = services
        .iter()
        .find_map(|service| world.listens(*service))
        .map(|socket| format!(" (a socket listens on {socket})"));
    let head = format!(
        "{} can be reached without a knock over {family}{}{only}{}",
        list(&services),
        by.unwrap_or_default(),
        socket.unwrap_or_default()
    );
    if !world.settings.firewall.protect {
        let ends = if why == "no rule" {
            "no rule of the host's closes it".to_owned()
        } else {
            format!("{why} lets it in")
        };
        let what = format!(
            "{head}: firewall.protect is \"none\" and {ends}; set protect = \"services\" in [firewall], or close it by a rule of the host's own"
        );
        return Finding::warning(id, what);
    }
    if world.is_iptables && family == Family::V6 && !world.facts.has_ip6tables {
        let what = format!(
            "{head}: ip6tables-restore is not installed, so nothing is closed there; install it, or set backend = \"nftables\", and start posternd again"
        );
        return Finding::warning(id, what).cured_by(vec!["apt-get install iptables".to_owned()]);
    }
    misplaced(world, id, family, &head, why)
}

/// Postern's rules stand, and yet it is open.
fn misplaced(
    world: &World<'_>,
    id: &'static str,
    family: Family,
    head: &str,
    why: &str,
) -> Finding {
    let home = world
        .way(family, Hook::Input)
        .into_iter()
        .find(|step: &Step<'_>| step.base.hook == Hook::Input && world.is_home(step.chain));
    let home = home.filter(|_| world.is_iptables && world.stands(family));
    let Some(home) = home else {
        return Finding::warning(
            id,
            format!(
                "{head}: Postern's rules do not close it yet; start posternd again, so that they fit the config"
            ),
        );
    };
    let program = &home.chain.table.program;
    let jump = vec![format!("{program} -I INPUT 1 -j POSTERN")];
    match World::jump(home.chain) {
        None => Finding::warning(
            id,
            format!("{head}: chain POSTERN stands, but nothing jumps to it from INPUT ({program})"),
        )
        .cured_by(jump),
        Some(0) => Finding::warning(
            id,
            format!(
                "{head}: Postern's rules do not close it yet; start posternd again, so that they fit the config"
            ),
        ),
        Some(_) => {
            let what = format!(
                "{head}: the jump to POSTERN is not the first rule of INPUT, and {why} comes before it; put the jump first, or start posternd again, which does it"
            );
            Finding::warning(id, what).cured_by(jump)
        }
    }
}
