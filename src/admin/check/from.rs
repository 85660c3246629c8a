//! `posternd check --from` and `--plan`: what the host's rules do with a packet of one address, and which rules they need.

use std::net::IpAddr;
use std::path::Path;

use super::host::{self, DroppingChain, Passage, opening};
use crate::adapters::config::disk;
use crate::adapters::firewall::host_rule;
use crate::core::host_rules::accept_rules::without_postern;
use crate::daemon::monitor::rights;
use crate::model::exit::{ExitError, UNAVAILABLE, USAGE};
use crate::model::policy::ports_of;
use crate::model::service::Wanted;

/// What becomes of packets, and what could not be looked at.
#[derive(Debug)]
pub(crate) struct Passages {
    pub(crate) packets: Vec<Passage>,
    pub(crate) unseen: Vec<String>,
}

/// Judges the packets of an address to a service, or to each service of the config.
pub(crate) fn judge(
    config: &Path,
    address: IpAddr,
    service: Option<&Wanted>,
) -> Result<Passages, ExitError> {
    let (bundle, settings) = disk::load(config)?;
    // Its keys are not needed.
    drop(bundle);
    rights::check()?;
    let services = match service {
        None => None,
        Some(wanted) => Some(
            ports_of(std::slice::from_ref(wanted), &settings.catalog).ok_or_else(|| {
                ExitError::new(
                    USAGE,
                    format!("no service in the config has the name {wanted}"),
                )
            })?,
        ),
    };
    let snapshot = host::snapshot(&settings, Some(address));
    let packets = host::passages(&settings, &snapshot, address, services.as_deref());
    Ok(Passages {
        packets,
        unseen: snapshot.unseen,
    })
}

/// What the host's own chains drop, and the rules that they need.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) dropping: Vec<DroppingChain>,
    /// What sees knocks before the host's own rules, if it is a rule.
    pub(crate) sensor: Option<String>,
    /// The commands that insert every rule, also those that are there already.
    pub(crate) rules: Vec<String>,
}

/// Plans the rules in the host's own chains.
pub(crate) fn plan(config: &Path) -> Result<Plan, ExitError> {
    let (bundle, settings) = disk::load(config)?;
    drop(bundle);
    rights::check()?;
    let snapshot = host::snapshot(&settings, None);
    if let Some(unseen) = snapshot.unseen.first() {
        return Err(ExitError::new(UNAVAILABLE, unseen));
    }
    let rules = without_postern(&snapshot.rules, settings.firewall.packet_mark);
    let protection = settings.protection();
    let plan = host_rule::plan(&rules, &protection, &snapshot.network)
        .map_err(|why| ExitError::new(UNAVAILABLE, why))?;
    Ok(Plan {
        dropping: host::dropping(&settings, &snapshot),
        sensor: protection.sensor.map(|sensor| {
            let group = sensor.group;
            format!("knocks need no rule here: posternd's own rules send them to group {group} of NFLOG first")
        }),
        rules: opening::commands(&plan.changes),
    })
}
