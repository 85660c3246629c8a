//! From facts and settings to findings: what is asked of the rules, in which order, and which of them are Postern's own.
//!
//! Pure. Netfilter's rule behind all of it: each base chain on a packet's way is walked, an accept ends one of them only, and a
//! drop anywhere is final.

use ipnet::IpNet;

use super::look::Facts;
use super::rules::{Base, Chain, Family, Hook, Verdict};
use super::walk::{Fate, Packet, fate};
use super::{blocked, open, rewritten};
use crate::admin::check::findings::Finding;
use crate::model::policy::{Policy, ports_of};
use crate::model::service::{Ports, joined, list};
use crate::model::settings::Settings;

/// The chains of the iptables driver that other chains jump to.
const CHAINS: [&str; 2] = ["POSTERN", "POSTERN-FWD"];
/// The table of the nftables driver.
const TABLE: &str = "postern";

/// Says all that follows from the facts.
pub(super) fn judge(settings: &Settings, backend: &str, facts: &Facts) -> Vec<Finding> {
    let world = World {
        settings,
        facts,
        is_iptables: backend == "iptables",
    };
    let mut findings: Vec<Finding> = facts
        .unseen
        .iter()
        .map(|what| Finding::note("not-looked", what))
        .collect();
    if backend == "command" {
        // Which rules its programs make is not known here; what is open without a knock is.
        findings.extend(open::reachable(&world));
        return findings;
    }
    findings.extend(world.left_over());
    findings.extend(world.not_installed());
    findings.extend(open::reachable(&world));
    findings.extend(rewritten::redirected(&world));
    findings.extend(blocked::blocked(&world));
    findings
}

/// What the questions are asked of.
pub(super) struct World<'a> {
    pub(super) settings: &'a Settings,
    pub(super) facts: &'a Facts,
    pub(super) is_iptables: bool,
}

/// A base chain on a packet's way.
#[derive(Clone, Copy)]
pub(super) struct Step<'a> {
    pub(super) chain: &'a Chain,
    pub(super) base: Base,
}

impl<'a> World<'a> {
    /// The families that packets can come in. A host that has no address yet is asked about as if it had IPv4.
    pub(super) fn families(&self) -> Vec<Family> {
        let here: Vec<Family> = Family::BOTH
            .into_iter()
            .filter(|family| self.facts.has(*family))
            .collect();
        if here.is_empty() {
            vec![Family::V4]
        } else {
            here
        }
    }

    /// Whether Postern's rules of this family stand, whatever is in them.
    pub(super) fn stands(&self, family: Family) -> bool {
        self.facts
            .rules
            .chains
            .iter()
            .any(|chain| self.is_ours(chain) && chain.table.sees(family))
    }

    /// A chain that the driver in use owns.
    fn is_ours(&self, chain: &Chain) -> bool {
        if self.is_iptables {
            is_plain_filter(chain) && CHAINS.contains(&chain.name.as_str())
        } else {
            is_native(chain)
        }
    }

    /// The base chain that the driver in use works in: it sees to it, when it starts, that its own rules come first there.
    pub(super) fn is_home(&self, chain: &Chain) -> bool {
        if self.is_iptables {
            is_plain_filter(chain)
        } else {
            is_native(chain)
        }
    }

    /// Where in a chain the first jump to Postern's rules stands.
    pub(super) fn jump(chain: &Chain) -> Option<usize> {
        chain.rules.iter().position(
            |rule| matches!(&rule.verdict, Verdict::Jump(to) if CHAINS.contains(&to.as_str())),
        )
    }

    /// Chains that stand for what Postern does of them: with iptables they accept what holds a grant; left over from another driver they do not count.
    pub(super) fn granting(&self) -> [(&'static str, bool); 2] {
        CHAINS.map(|name| (name, self.is_iptables))
    }

    /// Whether a chain is Postern's, whichever driver made it.
    pub(super) fn is_postern(chain: &Chain) -> bool {
        is_native(chain) || CHAINS.contains(&chain.name.as_str())
    }

    /// The base chains that filter a packet on its way to this hook.
    pub(super) fn way(&self, family: Family, hook: Hook) -> Vec<Step<'a>> {
        let steps = self
            .facts
            .rules
            .chains
            .iter()
            .filter(move |chain| chain.table.sees(family));
        let steps = steps.filter_map(|chain| chain.base.map(|base| Step { chain, base }));
        steps
            .filter(|step| {
                !step.base.is_nat && (step.base.hook == hook || step.base.hook == Hook::Prerouting)
            })
            .collect()
    }

    pub(super) fn fate(&self, step: Step<'_>, packet: &Packet<'_>) -> Fate {
        fate(&self.facts.rules, step.chain, step.base, packet)
    }

    /// A stranger's first packet to this host.
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
            interface,
            to: &self.facts.addresses,
            known: &[],
        }
    }

    fn services_of(&self, choose: impl Fn(&Policy) -> bool) -> Vec<Ports> {
        let wanted = self
            .settings
            .policies
            .iter()
            .filter(|policy| choose(policy));
        joined(
            wanted
                .filter_map(|policy| ports_of(&policy.services, &self.settings.named))
                .flatten()
                .collect(),
        )
    }

    /// Services of this host itself: those of users who reach only it, and those that some socket here serves.
    pub(super) fn own_services(&self) -> Vec<Ports> {
        let own = self.services_of(|policy| policy.targets.is_empty());
        let others = self
            .services_of(|policy| !policy.targets.is_empty())
            .into_iter()
            .filter(|service| self.listens(*service).is_some());
        joined(own.into_iter().chain(others).collect())
    }

    /// Services of hosts behind this one, with these hosts.
    pub(super) fn forwarded(&self) -> (Vec<Ports>, Vec<IpNet>) {
        let services = self.services_of(|policy| !policy.targets.is_empty());
        (
            services,
            self.settings
                .policies
                .iter()
                .flat_map(|policy| policy.targets.clone())
                .collect(),
        )
    }

    /// A socket that serves the outside on one of these ports.
    pub(super) fn listens(&self, service: Ports) -> Option<std::net::SocketAddr> {
        let (first, last) = service
            .range()
            .filter(|_| service.protocol_name() == "tcp")?;
        let outside = self
            .facts
            .listeners
            .iter()
            .filter(|socket| !socket.ip().is_loopback());
        outside
            .copied()
            .find(|socket| (first..=last).contains(&socket.port()))
    }

    /// Rules of a driver that is not in use go on dropping, and nobody opens them.
    fn left_over(&self) -> Vec<Finding> {
        let chains = self
            .facts
            .rules
            .chains
            .iter()
            .filter(|chain| Self::is_postern(chain) && !self.is_ours(chain));
        let mut tables: Vec<String> = chains.map(|chain| chain.table.to_string()).collect();
        tables.dedup();
        let found = tables.into_iter().map(|table| {
            let what = format!(
                "{table} still holds rules of Postern's from another backend, which drop what a grant opens: \
                 stop posternd, take them out, and start it again"
            );
            Finding::warning("left-over", what).cured_by(vec!["posternd flush".to_owned()])
        });
        found.collect()
    }

    fn not_installed(&self) -> Option<Finding> {
        let is_waiting = !self.settings.protection().services.is_empty()
            && !Family::BOTH.into_iter().any(|family| self.stands(family));
        is_waiting.then(|| {
            let closed = list(&self.settings.protection().services);
            Finding::note(
                "not-installed",
                format!("no rule of Postern's stands yet; `posternd run` puts them in, and {closed} is closed from then on"),
            )
        })
    }
}

fn is_native(chain: &Chain) -> bool {
    chain.table.is_nft() && chain.table.family == "inet" && chain.table.name == TABLE
}

/// Table filter of the variant that `iptables` and `ip6tables` are.
fn is_plain_filter(chain: &Chain) -> bool {
    ["iptables", "ip6tables"].contains(&chain.table.program.as_str())
        && chain.table.name == "filter"
}

/// Whether a service exists in a family: ICMP has one for each.
pub(super) fn exists_in(service: Ports, family: Family) -> bool {
    !matches!(
        (service.protocol_name(), family),
        ("icmp", Family::V6) | ("icmpv6", Family::V4)
    )
}
