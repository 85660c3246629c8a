//! Whether the host's own chains let granted packets pass, and whether they let strangers pass without Postern.

use super::view::{HostView, services_in};
use crate::adapters::firewall::{host_rule, nftables};
use crate::admin::check::findings::Finding;
use crate::core::host_rules::accept_rules::{Action, Change};
use crate::core::host_rules::{BaseChain, Hook, Judgement, KnownChain, Packet, PortOf, Ruleset};
use crate::model::service::{Ports, list};
use crate::model::settings::HostRules;

/// The iptables driver's chains, as if they were not there.
pub(super) const ABSENT: [KnownChain; 1] = [KnownChain {
    name: "POSTERN",
    accepts: false,
}];

pub(super) fn findings(view: &HostView<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = grants(view).into_iter().collect();
    findings.extend(open_without_postern(view));
    findings
}

/// The rules that posternd inserts into the host's own chains, as commands for an administrator who keeps them himself.
pub(crate) fn commands(changes: &[Change]) -> Vec<String> {
    changes.iter().map(command).collect()
}

fn command(change: &Change) -> String {
    let (table, chain) = (&change.table, &change.chain);
    match (table.is_nft(), &change.action) {
        (true, Action::Delete { handle }) => format!(
            "nft delete rule {} {} {chain} handle {handle}",
            table.family, table.name
        ),
        (
            true,
            Action::Insert {
                before_handle,
                is_last,
                ..
            },
        ) => {
            let at = format!("rule {} {} {chain}", table.family, table.name);
            let place = if *is_last {
                format!("add {at}")
            } else {
                format!("insert {at} position {before_handle}")
            };
            format!(
                "nft '{place} {} comment \"{}\"'",
                change.rule,
                change.rule.comment()
            )
        }
        (false, _) => format!(
            "{} -t {} {}",
            table.program,
            table.name,
            host_rule::iptables_line(change)
        ),
    }
}

fn grants(view: &HostView<'_>) -> Option<Finding> {
    let (settings, host) = (view.settings, view.host);
    let protection = settings.protection();
    let planned = host_rule::plan(&host.rules, &protection, &host.network);
    let mut changes = match planned {
        Ok(plan) => plan.changes,
        Err(why) => return Some(Finding::warning("host-drops", "no grant opens").detail(why)),
    };
    // What drops in other tables than its own, the iptables driver cannot open; `blocked` tells that.
    let is_published = |change: &Change| change.rule.port == PortOf::Sender;
    changes.retain(|change| {
        !view.is_iptables || change.table.is_plain_filter() && !is_published(change)
    });
    if changes.is_empty() {
        return None;
    }
    let is_owned = |change: &&Change| host.owned.contains(&change.table);
    if let Some(change) = changes.iter().find(is_owned)
        && settings.firewall.host_rules == HostRules::Postern
    {
        let why = nftables::owned(&change.table);
        return Some(Finding::warning("host-drops", "no grant opens").detail(why));
    }
    let place = |change: &Change| format!("{}, chain {}", change.table, change.chain);
    let described = |change: &Change| match &change.action {
        Action::Insert { .. } => format!("{}: {}", place(change), change.rule),
        Action::Delete { .. } => format!("{}: misplaced: {}", place(change), change.rule),
    };
    let finding = if settings.firewall.host_rules == HostRules::Mine {
        let what = "the host's own chains drop granted packets";
        Finding::warning("host-rules", what).cured_by(commands(&changes))
    } else if view.is_installed_at_all() {
        let what = "a rule that accepts granted packets is missing in the host's own chains";
        Finding::warning("host-rules", what).detail("a running posternd puts it back at once")
    } else {
        let what =
            "posternd will insert rules that accept granted packets into the host's own chains";
        Finding::note("host-rules", what)
    };
    Some(changes.iter().map(described).fold(finding, Finding::detail))
}

/// A rule that accepts a hidden service from everyone, in a chain that drops without it, opens the service whenever
/// Postern's own rules are absent.
fn open_without_postern(view: &HostView<'_>) -> Vec<Finding> {
    if !view.settings.firewall.protect {
        return Vec::new();
    }
    let mut findings: Vec<Finding> = Vec::new();
    for family in view.families() {
        for step in view.filter_chains(family, Hook::Input) {
            let is_in_reach = !view.is_iptables || step.chain.table.is_plain_filter();
            if HostView::is_postern(step.chain) || !is_in_reach {
                continue;
            }
            let services = services_in(&view.own_services(), family);
            let accepted: Vec<(Ports, String)> = services
                .into_iter()
                .filter_map(|service| {
                    let interface = view.host.network.interfaces.first()?;
                    let packet = Packet {
                        known_chains: &ABSENT,
                        ..view.packet(family, service, interface)
                    };
                    let Judgement::Accepted(rule) = view.host.rules.judge_chain(step, &packet)
                    else {
                        return None;
                    };
                    let without = without_rule(&view.host.rules, step, &rule);
                    let chain = without.chains.iter().find(|chain| {
                        chain.table == step.chain.table && chain.name == step.chain.name
                    })?;
                    let step = BaseChain { chain, ..step };
                    let drops = matches!(without.judge_chain(step, &packet), Judgement::Dropped(_));
                    drops.then_some((service, rule))
                })
                .collect();
            if let Some((_, rule)) = accepted.first() {
                let names: Vec<Ports> = accepted.iter().map(|(service, _)| *service).collect();
                let what = format!(
                    "strangers reach {} whenever Postern's rules are absent: before its start, after a flush",
                    list(&names)
                );
                let finding = Finding::warning("open-without-postern", what)
                    .detail(format!(
                        "{} accepts it from everyone: {rule}",
                        step.chain.table
                    ))
                    .detail(
                        "delete that rule; posternd inserts one that accepts granted packets only",
                    );
                if !findings.contains(&finding) {
                    findings.push(finding);
                }
            }
        }
    }
    findings
}

fn without_rule(ruleset: &Ruleset, step: BaseChain<'_>, name: &str) -> Ruleset {
    let mut ruleset = ruleset.clone();
    let chains = ruleset.chains.iter_mut();
    for chain in chains.filter(|chain| chain.table == step.chain.table) {
        chain.rules.retain(|rule| rule.name != name);
    }
    ruleset
}
