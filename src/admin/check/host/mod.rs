//! What the host's own rules do to Postern: services that are open without a knock, and grants that open nothing.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::findings::Finding;
use crate::adapters::firewall::host::{HostSnapshot, Tools, take};
use crate::adapters::process::{self, Programs};
use crate::model::service::Ports;
use crate::model::settings::{DriverKind, Settings};
use view::HostView;

mod blocked;
mod cure;
mod dropping;
pub(super) mod opening;
mod passage;
mod policy;
mod reachable;
mod rewritten;
mod sessions;
mod sets;
#[cfg(test)]
mod tests;
mod view;

pub(crate) use dropping::DroppingChain;
pub(crate) use passage::Passage;

const LIST_DEADLINE: Duration = Duration::from_secs(10);

/// The host as it treats packets of this address, or of strangers.
pub(super) fn snapshot(settings: &Settings, source: Option<IpAddr>) -> HostSnapshot {
    let mut tools = Tools {
        run: &mut Programs::with_deadline(LIST_DEADLINE),
        find: process::find,
    };
    let policies = settings.policies.iter();
    let targets: Vec<IpNet> = policies.flat_map(|policy| policy.targets.clone()).collect();
    take(&settings.gate.interfaces, source, &targets, &mut tools)
}

/// What becomes of packets of an address to these services, or to those of the config.
pub(super) fn passages(
    settings: &Settings,
    host: &HostSnapshot,
    address: IpAddr,
    services: Option<&[Ports]>,
) -> Vec<Passage> {
    let view = HostView {
        settings,
        host,
        is_iptables: settings.firewall.backend == DriverKind::Iptables,
    };
    let (own, behind) = (view.own_services(), view.forwarded_services());
    match services {
        None => passage::passages(&view, address, &own, &behind),
        Some(services) => {
            let is_behind =
                |service: &Ports| behind.iter().any(|one| one.overlap(*service).is_some());
            let behind: Vec<Ports> = services.iter().copied().filter(is_behind).collect();
            passage::passages(&view, address, services, &behind)
        }
    }
}

/// The base chains of the host that drop what no rule accepts.
pub(super) fn dropping(settings: &Settings, host: &HostSnapshot) -> Vec<DroppingChain> {
    dropping::chains(&HostView {
        settings,
        host,
        is_iptables: false,
    })
}

/// Judges a host; `backend` is the name of the driver that `run` would use.
pub(super) fn findings(settings: &Settings, backend: &str, host: &HostSnapshot) -> Vec<Finding> {
    let view = HostView {
        settings,
        host,
        is_iptables: backend == "iptables",
    };
    let unseen = host.unseen.iter();
    let unseen = unseen.map(|what| Finding::note("not-looked", what));
    let mut findings: Vec<Finding> = unseen.collect();
    if backend == "command" {
        // What the programs of this driver do is not known. What is open without a knock is.
        findings.extend(reachable::findings(&view));
        return findings;
    }
    findings.extend(sets::findings(&view));
    findings.extend(left_over(&view));
    findings.extend(not_installed(&view));
    findings.extend(reachable::findings(&view));
    findings.extend(rewritten::findings(&view));
    findings.extend(opening::findings(&view));
    findings.extend(blocked::findings(&view));
    findings.extend(sessions::findings(&view));
    findings.extend(policy::findings(&view));
    findings
}

/// Rules of a driver that is not in use still drop packets, and no grant opens them.
fn left_over(view: &HostView<'_>) -> Vec<Finding> {
    let chains = view.host.rules.chains.iter();
    let mut tables: Vec<String> = chains
        .filter(|chain| HostView::is_postern(chain) && !view.is_ours(chain))
        .map(|chain| chain.table.to_string())
        .collect();
    tables.dedup();
    let finding = |table| {
        let what = format!("{table} still holds Postern's rules of another backend");
        Finding::warning("left-over", what)
            .detail("they drop what a grant opens")
            .detail("stop posternd, remove them, and start it again")
            .cured_by(vec!["posternd flush".to_owned()])
    };
    tables.into_iter().map(finding).collect()
}

fn not_installed(view: &HostView<'_>) -> Option<Finding> {
    let closed = view.settings.protection().services;
    (!closed.is_empty() && !view.is_installed_at_all()).then(|| {
        let closed = crate::model::service::list(&closed);
        let cure = format!("`posternd run` installs them and closes {closed} to strangers");
        Finding::note("not-installed", "Postern's rules are not installed yet").detail(cure)
    })
}
