//! The host as `check` sees it: which chains are Postern's, which services to ask about, and which packets.

use std::net::SocketAddr;

use ipnet::IpNet;

use crate::adapters::firewall::host::HostSnapshot;
use crate::core::host_rules::{BaseChain, Chain, Hook, KnownChain, Packet, Verdict};
use crate::model::address::Family;
use crate::model::policy::{Policy, ports_of};
use crate::model::service::{Ports, joined};
use crate::model::settings::Settings;

const CHAINS: [&str; 2] = ["POSTERN", "POSTERN-FWD"];
const TABLE: &str = "postern";

pub(super) struct HostView<'a> {
    pub(super) settings: &'a Settings,
    pub(super) host: &'a HostSnapshot,
    pub(super) is_iptables: bool,
}

impl<'a> HostView<'a> {
    /// The families that packets can come in. A host without an address counts as IPv4.
    pub(super) fn families(&self) -> Vec<Family> {
        let has = |family: &Family| match family {
            Family::V4 => self.host.has(Family::V4) || !self.host.has(Family::V6),
            Family::V6 => self.host.has(Family::V6),
        };
        Family::BOTH.into_iter().filter(has).collect()
    }

    pub(super) fn is_installed(&self, family: Family) -> bool {
        let mut chains = self.host.rules.chains.iter();
        chains.any(|chain| self.is_ours(chain) && chain.table.sees(family))
    }

    pub(super) fn is_installed_at_all(&self) -> bool {
        self.is_installed(Family::V4) || self.is_installed(Family::V6)
    }

    pub(super) fn is_ours(&self, chain: &Chain) -> bool {
        self.is_home(chain) && (!self.is_iptables || CHAINS.contains(&chain.name.as_str()))
    }

    /// Whether the driver in use works in the chain's table. At its start it puts its own rules first there.
    pub(super) fn is_home(&self, chain: &Chain) -> bool {
        if self.is_iptables {
            chain.table.is_plain_filter()
        } else {
            is_native(chain)
        }
    }

    pub(super) fn lacks_program(&self, family: Family) -> bool {
        self.is_iptables && family == Family::V6 && !self.host.has_ip6tables
    }

    pub(super) fn jump(chain: &Chain) -> Option<usize> {
        chain.rules.iter().position(
            |rule| matches!(&rule.verdict, Verdict::Jump(to) if CHAINS.contains(&to.as_str())),
        )
    }

    /// What Postern's chains do with a packet that holds a grant. Chains of another driver do nothing.
    pub(super) fn granting(&self) -> [KnownChain; 2] {
        CHAINS.map(|name| KnownChain {
            name,
            accepts: self.is_iptables,
        })
    }

    pub(super) fn is_postern(chain: &Chain) -> bool {
        is_native(chain) || CHAINS.contains(&chain.name.as_str())
    }

    pub(super) fn filter_chains(&self, family: Family, hook: Hook) -> Vec<BaseChain<'a>> {
        self.host.rules.filter_chains(family, hook)
    }

    pub(super) fn packet<'p>(
        &'p self,
        family: Family,
        service: Ports,
        interface: &'p str,
    ) -> Packet<'p> {
        Packet {
            family,
            service,
            original: None,
            is_established: false,
            source: None,
            is_forwarded: false,
            mark: 0,
            interface,
            destinations: &self.host.network.addresses,
            out_interface: None,
            known_chains: &[],
            sets: &[],
        }
    }

    fn services_of(&self, choose: impl Fn(&Policy) -> bool) -> Vec<Ports> {
        let policies = self
            .settings
            .policies
            .iter()
            .filter(|policy| choose(policy));
        let ports =
            policies.filter_map(|policy| ports_of(&policy.services, &self.settings.catalog));
        joined(ports.flatten().collect())
    }

    /// Services of this host: those of users without targets, and those that a socket here serves.
    pub(super) fn own_services(&self) -> Vec<Ports> {
        let mut services = self.services_of(|policy| policy.targets.is_empty());
        let mut others = self.forwarded_services();
        others.retain(|service| self.listens(*service).is_some());
        services.append(&mut others);
        joined(services)
    }

    pub(super) fn forwarded_services(&self) -> Vec<Ports> {
        self.services_of(|policy| !policy.targets.is_empty())
    }

    pub(super) fn targets(&self) -> Vec<IpNet> {
        let policies = self.settings.policies.iter();
        policies.flat_map(|policy| policy.targets.clone()).collect()
    }

    pub(super) fn listens(&self, service: Ports) -> Option<SocketAddr> {
        let range = service.range();
        let (first, last) = range.filter(|_| service.protocol_name() == "tcp")?;
        let mut sockets = self.host.listeners.iter().copied();
        sockets.find(|socket| !socket.ip().is_loopback() && (first..=last).contains(&socket.port()))
    }
}

fn is_native(chain: &Chain) -> bool {
    chain.table.is_nft() && chain.table.family == "inet" && chain.table.name == TABLE
}

/// The services that exist in a family: ICMP has one for each.
pub(super) fn services_in(services: &[Ports], family: Family) -> Vec<Ports> {
    let foreign = match family {
        Family::V4 => "icmpv6",
        Family::V6 => "icmp",
    };
    let mut services = services.to_vec();
    services.retain(|service| service.protocol_name() != foreign);
    services
}
