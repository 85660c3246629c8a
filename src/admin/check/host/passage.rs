//! What the host's rules do with a new connection from one address, and which rule decides.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::view::{HostView, services_in};
use crate::core::host_rules::{Hook, Judgement, NO_RULE, Original, Packet, Ruleset};
use crate::model::address::Family;
use crate::model::service::Ports;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Accepted,
    Dropped,
    /// A condition decides that is not understood.
    Unknown,
}

/// A packet, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Passage {
    address: IpAddr,
    service: Ports,
    with_grant: bool,
    /// `input`, or `forward` to a host behind this one.
    hook: &'static str,
    /// The interface that receives it, if the verdict depends on that.
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<String>,
    /// The address or network that it is for, if the verdict depends on that.
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<String>,
    /// Where a rule sends it instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    new_destination: Option<String>,
    verdict: Verdict,
    /// The rule or policy that decides; `no rule` if none does.
    rule: String,
}

impl fmt::Display for Passage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.address, self.service)?;
        if let Some(destination) = &self.destination {
            write!(f, " at {destination}")?;
        }
        if let Some(to) = &self.new_destination {
            write!(f, " (sent to {to})")?;
        } else if self.hook == "forward" {
            write!(f, " of the hosts behind this one")?;
        }
        if let Some(interface) = &self.interface {
            write!(f, " by {interface}")?;
        }
        if self.with_grant {
            write!(f, ", with a grant")?;
        }
        match self.verdict {
            Verdict::Accepted if self.rule == NO_RULE => {
                write!(f, ": accepted; no rule drops it")
            }
            Verdict::Accepted => write!(f, ": accepted by {}", self.rule),
            Verdict::Dropped => write!(f, ": dropped by {}", self.rule),
            Verdict::Unknown => write!(
                f,
                ": cannot tell; {} has a condition that posternd does not understand",
                self.rule
            ),
        }
    }
}

/// What becomes of a packet without a grant, and with one if the config lets users open the service: one passage for each
/// service and hook, or one for each interface and destination if they differ.
pub(super) fn passages(
    view: &HostView<'_>,
    address: IpAddr,
    own: &[Ports],
    behind: &[Ports],
) -> Vec<Passage> {
    let family = Family::of(address);
    let targets = view.targets();
    let protection = view.settings.protection();
    let of_targets: Vec<Ports> = protection.behind.iter().map(|(_, ports)| *ports).collect();
    let known_chains = view.granting();
    let mut open = view.host.rules.clone();
    open.chains.retain(|chain| !chain.table.is_postern());
    let mut all = Vec::new();
    for (services, grantable, hook, destinations) in [
        (
            own,
            &protection.grantable,
            Hook::Input,
            &view.host.network.addresses,
        ),
        (behind, &of_targets, Hook::Forward, &targets),
    ] {
        let destinations = one_by_one(destinations, family);
        for service in services_in(services, family) {
            let (mut without, mut with) = (Vec::new(), Vec::new());
            for interface in interfaces(view, address) {
                for destinations in &destinations {
                    let packet = Packet {
                        source: Some(address),
                        is_forwarded: hook == Hook::Forward,
                        destinations,
                        ..view.packet(family, service, &interface)
                    };
                    without.push(passage(view, &view.host.rules, address, hook, &packet));
                    if grantable
                        .iter()
                        .any(|one| one.overlap(service) == Some(service))
                    {
                        let packet = Packet {
                            mark: protection.packet_mark.value,
                            known_chains: &known_chains,
                            ..packet
                        };
                        let with_grant = passage(view, &open, address, hook, &packet);
                        with.push(Passage {
                            with_grant: true,
                            ..with_grant
                        });
                    }
                }
            }
            all.append(&mut joined(without));
            all.append(&mut joined(with));
        }
    }
    all
}

/// Each network of the family by itself, or none.
fn one_by_one(networks: &[IpNet], family: Family) -> Vec<&[IpNet]> {
    let is_of_family = |one: &&[IpNet]| one.iter().all(|one| Family::of_network(*one) == family);
    let chunks: Vec<&[IpNet]> = networks.chunks(1).filter(is_of_family).collect();
    if chunks.is_empty() { vec![&[]] } else { chunks }
}

/// Leaves out the interface, then the destination, if the outcome does not depend on it.
fn joined(mut found: Vec<Passage>) -> Vec<Passage> {
    let leave_out: [fn(&mut Passage); 2] =
        [|one| one.interface = None, |one| one.destination = None];
    for leave_out in leave_out {
        let mut fewer = found.clone();
        fewer.iter_mut().for_each(leave_out);
        let is_alike = |one: &Passage| {
            let same_packet = |other: &&Passage| {
                (&other.interface, &other.destination) == (&one.interface, &one.destination)
            };
            fewer.iter().filter(same_packet).all(|other| other == one)
        };
        if fewer.iter().all(is_alike) {
            let mut kept: Vec<Passage> = Vec::new();
            for one in fewer {
                if !kept.contains(&one) {
                    kept.push(one);
                }
            }
            found = kept;
        }
    }
    found
}

fn interfaces(view: &HostView<'_>, address: IpAddr) -> Vec<String> {
    let is_own = view
        .host
        .network
        .addresses
        .iter()
        .any(|own| own.addr() == address);
    if is_own || address.is_loopback() {
        vec!["lo".to_owned()]
    } else {
        view.host.network.interfaces.clone()
    }
}

fn passage(
    view: &HostView<'_>,
    rules: &Ruleset,
    address: IpAddr,
    hook: Hook,
    packet: &Packet<'_>,
) -> Passage {
    let mut steps = rules.rewrite_chains(packet.family).into_iter();
    let rewrite = steps.find_map(|step| rules.rewrite(step, packet));
    let is_own = |to: IpAddr| {
        view.host
            .network
            .addresses
            .iter()
            .any(|own| own.addr() == to)
    };
    let to = rewrite.as_ref().and_then(|rewrite| rewrite.to.address);
    let to = to.filter(|to| !to.is_loopback() && !is_own(*to));
    let service = rewrite
        .as_ref()
        .and_then(|rewrite| packet.service.moved_to(rewrite.to.port?))
        .unwrap_or(packet.service);
    let network = to.map(IpNet::from);
    let leaves = match (network, packet.destinations) {
        (Some(to), _) => Some(to),
        (None, [to]) if packet.is_forwarded => Some(*to),
        _ => None,
    };
    let moved = Packet {
        out_interface: leaves.and_then(|to| view.host.network.interface_to(to)),
        service,
        original: rewrite.as_ref().map(|_| Original {
            service: packet.service,
            destinations: packet.destinations,
        }),
        is_forwarded: packet.is_forwarded || to.is_some(),
        destinations: network
            .as_ref()
            .map_or(packet.destinations, std::slice::from_ref),
        ..packet.clone()
    };
    let hook = if to.is_some() { Hook::Forward } else { hook };
    let (verdict, rule) = match rules.judge(hook, &moved) {
        Judgement::Accepted(rule) => (Verdict::Accepted, rule),
        Judgement::Dropped(rule) => (Verdict::Dropped, rule),
        Judgement::CannotTell(rule) => (Verdict::Unknown, rule),
    };
    Passage {
        address,
        service: packet.service,
        with_grant: false,
        hook: match hook {
            Hook::Forward => "forward",
            _ => "input",
        },
        interface: Some(packet.interface.to_owned()).filter(|name| !name.is_empty()),
        destination: match packet.destinations {
            [one] if one.prefix_len() == one.max_prefix_len() => Some(one.addr().to_string()),
            [one] => Some(one.to_string()),
            _ => None,
        },
        new_destination: match to {
            Some(to) => Some(format!("{to} {service}")),
            None => (service != packet.service).then(|| service.to_string()),
        },
        verdict,
        rule,
    }
}
