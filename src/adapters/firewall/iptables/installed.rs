//! What one family's part of the firewall should hold, and whether a listing agrees.

use std::collections::{BTreeMap, BTreeSet};

use super::chains::{
    DNAT, FORWARD, FORWARD_GRANTS, INPUT, INPUT_GRANTS, MARK, NeededChains, SENSED, SENSOR, SNAT,
};
use super::rules::Form;
use super::save::Tables;
use super::{forward, grants, marks, rules, sensor};
use crate::adapters::firewall::FirewallError;
use crate::model::address::Family;
use crate::model::grant::{Change, Grant, GrantId};
use crate::model::settings::Protection;

const NFLOG: &str = "NFLOG";
const CHAINS: [&str; 5] = [INPUT, FORWARD, MARK, SENSOR, SENSED];

pub(super) type Grants = BTreeMap<GrantId, Grant>;

pub(super) struct Installed {
    family: Family,
    pub(super) live: Grants,
    needed: NeededChains,
    /// The targets of the rules in [`CHAINS`], in order. The kernel prints the matches differently.
    targets: [Vec<String>; 5],
    /// The same rules as the kernel prints them, from the first listing with the right targets.
    wording: Option<[Vec<String>; 5]>,
}

impl Installed {
    pub(super) fn new(
        family: Family,
        protection: &Protection,
        live: &[&Grant],
        form: Form,
    ) -> Self {
        let [sensor, sensed] = sensor::rules_of_chains(protection);
        let targets = [
            rules::protection_rules(family, protection, form),
            forward::protection_rules(family, protection, form.in_sets),
            vec![marks::marking(protection.packet_mark, form.live)],
            sensor,
            sensed,
        ];
        Self {
            family,
            live: live
                .iter()
                .map(|grant| (grant.id, Grant::clone(grant)))
                .collect(),
            needed: NeededChains::new(family, protection, live),
            targets: targets.map(|rules| rules.iter().map(|rule| target(rule)).collect()),
            wording: None,
        }
    }

    pub(super) fn tables(&self) -> &'static [&'static str] {
        self.needed.tables()
    }

    pub(super) fn missing_part(&self, grant: &Grant) -> Option<&'static str> {
        if grant.target.is_some() && !self.needed.forward {
            Some("forwarding is not installed, because no user has targets")
        } else if !grant.forwards.is_empty() && !self.needed.nat {
            Some(
                "address translation is not installed, because no user has a service that forwards",
            )
        } else {
            None
        }
    }

    /// Makes one change in `live` and returns the lines that make it in the firewall. On an error `live` stays as it is.
    pub(super) fn enter(
        &self,
        change: &Change,
        live: &mut Grants,
        form: Form,
    ) -> Result<Vec<String>, FirewallError> {
        let (old, new) = change.grants();
        if let Some(grant) = new {
            if Family::of_network(old.allow) != Family::of_network(grant.allow) {
                return Err(FirewallError::Unsupported(format!(
                    "{grant}: it cannot extend {old}, which has another address family"
                )));
            }
            if let Some(part) = self.missing_part(grant) {
                return Err(FirewallError::NotInstalled(format!(
                    "{grant}: {part}; reload the config"
                )));
            }
        }
        let ids: BTreeSet<GrantId> = std::iter::once(old)
            .chain(new)
            .map(|grant| grant.id)
            .collect();
        let mut lines = Vec::new();
        for grant in ids.iter().filter_map(|id| live.get(id)) {
            let rules = rules::grant_rules(grant, form)?;
            lines.extend(rules.iter().map(|rule| format!("-D {rule}")));
        }
        if let Some(grant) = new {
            let rules = rules::grant_rules(grant, form)?;
            lines.extend(rules.iter().map(|rule| format!("-A {rule}")));
        }
        live.retain(|id, _| !ids.contains(id));
        live.extend(new.map(|grant| (grant.id, grant.clone())));
        Ok(lines)
    }

    pub(super) fn is_in(&mut self, tables: &Tables) -> bool {
        let wording = CHAINS.map(|chain| tables.rules(chain).map(str::to_owned).collect());
        self.has_targets(tables)
            && self.has_grants(tables)
            && *self.wording.get_or_insert_with(|| wording.clone()) == wording
    }

    fn has_targets(&self, tables: &Tables) -> bool {
        let [input, forward, mark, sensor, sensed] = &self.targets;
        let holds =
            |chain: &str, targets: &[String]| tables.rules(chain).map(target).eq(targets.to_vec());
        let has = |chain: &str, grants: &str, targets: &[String]| {
            tables.is_first(grants) && holds(chain, targets)
        };
        has(INPUT, INPUT_GRANTS, input)
            && holds(MARK, mark)
            && (!self.needed.forward || has(FORWARD, FORWARD_GRANTS, forward))
            && (!self.needed.nat || (tables.is_first(DNAT) && tables.is_first(SNAT)))
            && (!self.needed.sensor || (has(SENSOR, SENSOR, sensor) && holds(SENSED, sensed)))
    }

    fn has_grants(&self, tables: &Tables) -> bool {
        let sorted = |grant: &Grant| {
            let mut grant = grant.clone();
            grant.services.sort_unstable();
            grant.forwards.sort_unstable();
            grant
        };
        let is_live = |grant: &Grant| self.live.get(&grant.id).map(sorted) == Some(sorted(grant));
        let (found, foreign) = grants::read(self.family, tables);
        foreign.is_none()
            && found.len() == self.live.len()
            && found.iter().all(is_live)
            && self.has_all_forward_rules(tables)
    }

    /// One rule is enough to read a port forward back, so the rules are counted.
    fn has_all_forward_rules(&self, tables: &Tables) -> bool {
        let forwards = || self.live.values().flat_map(|grant| &grant.forwards);
        let services = |behind: bool| -> usize {
            let grants = self.live.values();
            let grants = grants.filter(|grant| grant.target.is_some() == behind);
            grants.map(|grant| grant.services.len()).sum()
        };
        let redirects = forwards().filter(|forward| forward.host.is_none()).count();
        let to_hosts = forwards().count().saturating_sub(redirects);
        let masquerading = forwards().filter(|forward| forward.masquerade).count();
        let count = |chain: &str| tables.rules(chain).count();
        count(INPUT_GRANTS) == services(false).saturating_add(redirects)
            && count(FORWARD_GRANTS) == services(true).saturating_add(to_hosts)
            && count(DNAT) == forwards().count()
            && count(SNAT) == masquerading
    }
}

fn target(rule: &str) -> String {
    let target = rule.rsplit("-j ").next().unwrap_or_default();
    // The variants print its options in other orders.
    let is_log = target.starts_with(NFLOG);
    if is_log { NFLOG } else { target }.to_owned()
}
