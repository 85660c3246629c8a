//! Which base chains of the host drop what no rule accepts, and which programs they belong to.

use std::fmt;

use serde::Serialize;

use super::view::{HostView, services_in};
use crate::core::host_rules::{Hook, Judgement, Packet};

/// A base chain that drops a stranger's packet to a service of the config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct DroppingChain {
    table: String,
    chain: String,
    /// `input`, or `forward` to hosts behind this one.
    hook: &'static str,
    /// The programs that have chains in the table.
    owners: Vec<&'static str>,
    /// The rule or policy that drops.
    rule: String,
}

impl fmt::Display for DroppingChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, chain {}", self.table, self.chain)?;
        if !self.owners.is_empty() {
            write!(f, ", of {}", self.owners.join(", "))?;
        }
        let packets = match self.hook {
            "forward" => "packets to hosts behind this one",
            _ => "packets to this host",
        };
        write!(f, ": {packets} are dropped by {}", self.rule)
    }
}

pub(super) fn chains(view: &HostView<'_>) -> Vec<DroppingChain> {
    let (rules, targets) = (&view.host.rules, view.targets());
    let mut found = Vec::new();
    for (hook, name, services, destinations) in [
        (
            Hook::Input,
            "input",
            view.own_services(),
            &view.host.network.addresses,
        ),
        (
            Hook::Forward,
            "forward",
            view.forwarded_services(),
            &targets,
        ),
    ] {
        for family in view.families() {
            let steps = view.filter_chains(family, hook).into_iter();
            for step in steps.filter(|step| !HostView::is_postern(step.chain)) {
                let interface = view
                    .host
                    .network
                    .interfaces
                    .first()
                    .map_or("", String::as_str);
                let drops = services_in(&services, family)
                    .into_iter()
                    .find_map(|service| {
                        let packet = Packet {
                            is_forwarded: hook == Hook::Forward,
                            destinations,
                            ..view.packet(family, service, interface)
                        };
                        match rules.judge_chain(step, &packet) {
                            Judgement::Dropped(rule) => Some(rule),
                            Judgement::Accepted(_) | Judgement::CannotTell(_) => None,
                        }
                    });
                let Some(rule) = drops else { continue };
                let chain = DroppingChain {
                    table: step.chain.table.to_string(),
                    chain: step.chain.name.clone(),
                    hook: name,
                    owners: rules.owners(&step.chain.table),
                    rule,
                };
                if !found.contains(&chain) {
                    found.push(chain);
                }
            }
        }
    }
    found
}
