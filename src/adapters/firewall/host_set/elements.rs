//! Which elements a grant needs, and which grants need an element.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::adapters::firewall::FirewallError;
use crate::adapters::firewall::nftables::{HostSets, KeyKind, Known, SetElement, Unfit};
use crate::adapters::netlink::attributes::octets;
use crate::model::address::Family;
use crate::model::grant::{Grant, GrantId};
use crate::model::host_set::{HostSet, ServiceSets};
use crate::model::service::Ports;
use crate::model::time::Timestamp;

/// The sets of the config as the kernel has them.
pub(super) type Sets = BTreeMap<HostSet, Result<Known, Unfit>>;

/// The elements of a grant; an error if it fits no set of one of its services.
pub(super) fn of_grant(
    grant: &Grant,
    services: &[ServiceSets],
    sets: &Sets,
) -> Result<Vec<SetElement>, FirewallError> {
    let mut elements = Vec::new();
    let at_gate = services.iter().filter(|_| grant.target.is_none());
    for service in at_gate.filter(|one| one.is_covered_by(&grant.services)) {
        let refused = |why: String| {
            FirewallError::HostDrops(format!("nft_set of [service.{}]: {why}", service.service))
        };
        let before = elements.len();
        for set in &service.sets {
            match sets.get(set) {
                Some(Ok(known)) => {
                    elements.extend(in_set(grant, service, set, *known).map_err(refused)?)
                }
                Some(Err(unfit)) if may_hold(set, grant) => return Err(refused(unfit.to_string())),
                Some(Err(_)) | None => {}
            }
        }
        if elements.len() == before {
            return Err(refused(format!("no set takes the address {}", grant.allow)));
        }
    }
    elements.sort_unstable();
    elements.dedup();
    Ok(elements)
}

fn may_hold(set: &HostSet, grant: &Grant) -> bool {
    set.family != Family::of_network(grant.allow).pick("ip6", "ip")
}

fn in_set(
    grant: &Grant,
    service: &ServiceSets,
    set: &HostSet,
    known: Known,
) -> Result<Vec<SetElement>, String> {
    let (KeyKind::Address(family) | KeyKind::AddressProtocolPort(family)) = known.kind;
    if family != Family::of_network(grant.allow) {
        return Ok(Vec::new());
    }
    if grant.allow.prefix_len() != grant.allow.max_prefix_len() {
        return Err(format!(
            "set {set} takes single addresses, and the grant is for {}; set max_prefix",
            grant.allow
        ));
    }
    let address = grant.allow.addr();
    let element = |key| SetElement {
        set: set.clone(),
        key,
    };
    match known.kind {
        KeyKind::Address(_) => Ok(vec![element(octets(address))]),
        KeyKind::AddressProtocolPort(_) => {
            let key = |ports: &Ports| {
                key_with_port(address, *ports).ok_or_else(|| {
                    format!("set {set} takes single ports, and {ports} is none; write a set of addresses")
                })
            };
            let keys: Result<Vec<Vec<u8>>, String> = service.ports.iter().map(key).collect();
            Ok(keys?.into_iter().map(element).collect())
        }
    }
}

fn key_with_port(address: IpAddr, ports: Ports) -> Option<Vec<u8>> {
    let (first, last) = ports.range()?;
    let [high, low] = first.to_be_bytes();
    let rest = [ports.protocol(), 0, 0, 0, high, low, 0, 0];
    (first == last).then(|| [&octets(address)[..], &rest].concat())
}

/// Why a set of these services cannot hold grants: the service and the reason.
pub(crate) fn unfit(services: &[ServiceSets]) -> Result<Vec<(String, Unfit)>, FirewallError> {
    if services.is_empty() {
        return Ok(Vec::new());
    }
    let mut kernel = HostSets::open()?;
    let mut faults = Vec::new();
    for service in services {
        for set in &service.sets {
            if let Err(fault) = kernel.look_at(set)? {
                faults.push((service.service.clone(), fault));
            }
        }
    }
    Ok(faults)
}

/// The sets of the host that have elements of Postern.
pub(crate) fn left() -> Result<BTreeSet<HostSet>, FirewallError> {
    let own = HostSets::open()?.all_own()?;
    Ok(own.into_iter().map(|element| element.set).collect())
}

/// The elements of all open grants. Two grants may need the same one, which lasts until the later end.
#[derive(Debug, Default)]
pub(super) struct Owners {
    by_element: BTreeMap<SetElement, BTreeSet<(Timestamp, GrantId)>>,
    by_grant: BTreeMap<GrantId, (Timestamp, Vec<SetElement>)>,
}

impl Owners {
    /// Replaces what a grant needs; returns the elements that may change.
    pub(super) fn replace(
        &mut self,
        id: GrantId,
        new: Option<(Timestamp, Vec<SetElement>)>,
    ) -> BTreeSet<SetElement> {
        let mut touched = BTreeSet::new();
        if let Some((until, elements)) = self.by_grant.remove(&id) {
            for element in elements {
                if let Some(owners) = self.by_element.get_mut(&element) {
                    owners.remove(&(until, id));
                    if owners.is_empty() {
                        self.by_element.remove(&element);
                    }
                }
                touched.insert(element);
            }
        }
        if let Some((until, elements)) = new {
            for element in &elements {
                let owners = self.by_element.entry(element.clone()).or_default();
                owners.insert((until, id));
                touched.insert(element.clone());
            }
            self.by_grant.insert(id, (until, elements));
        }
        touched
    }

    pub(super) fn get(&self, id: GrantId) -> Option<(Timestamp, Vec<SetElement>)> {
        self.by_grant.get(&id).cloned()
    }

    /// Until when an element is needed, and by which grant.
    pub(super) fn last(&self, element: &SetElement) -> Option<(Timestamp, GrantId)> {
        self.by_element.get(element)?.last().copied()
    }

    /// The grants that need an element.
    pub(super) fn of(&self, element: &SetElement) -> impl Iterator<Item = GrantId> {
        let owners = self.by_element.get(element).into_iter().flatten();
        owners.map(|(_, id)| *id)
    }

    pub(super) fn elements(&self) -> impl Iterator<Item = &SetElement> {
        self.by_element.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::fixture;

    fn services(sets: &[&str]) -> Vec<ServiceSets> {
        vec![ServiceSets {
            service: "ssh".to_owned(),
            ports: vec!["tcp/22".parse().unwrap()],
            sets: sets.iter().map(|set| set.parse().unwrap()).collect(),
        }]
    }

    fn known(kind: KeyKind) -> Result<Known, Unfit> {
        let identity = (1, 1);
        Ok(Known { kind, identity })
    }

    #[test]
    fn grant_goes_into_the_set_of_its_family() {
        let services = services(&["inet f four", "inet f six"]);
        let [four, six] = ["inet f four", "inet f six"].map(|set| set.parse::<HostSet>().unwrap());
        let mut sets = Sets::from([
            (four, known(KeyKind::AddressProtocolPort(Family::V4))),
            (six.clone(), known(KeyKind::Address(Family::V6))),
        ]);
        let elements = |allow: &str, sets: &Sets| {
            let grant = fixture::grant(1, "alice", allow, &["tcp/22"]);
            let found = of_grant(&grant, &services, sets)?;
            Ok::<_, FirewallError>(
                found
                    .into_iter()
                    .map(|one| (one.set.name, one.key))
                    .collect::<Vec<_>>(),
            )
        };
        let key = vec![192, 0, 2, 7, 6, 0, 0, 0, 0, 22, 0, 0];
        assert_eq!(
            elements("192.0.2.7/32", &sets),
            Ok(vec![("four".to_owned(), key)])
        );
        let key = octets("2001:db8::7".parse().unwrap());
        assert_eq!(
            elements("2001:db8::7/128", &sets),
            Ok(vec![("six".to_owned(), key)])
        );
        let refused = elements("192.0.2.0/24", &sets).unwrap_err();
        assert!(
            refused.to_string().contains("takes single addresses"),
            "{refused}"
        );
        sets.insert(six.clone(), Err(Unfit::Absent(six.clone())));
        let refused = elements("192.0.2.7/32", &sets).unwrap_err();
        assert!(refused.to_string().contains("does not exist"), "{refused}");
        sets.insert(six, known(KeyKind::Address(Family::V4)));
        let refused = elements("2001:db8::7/128", &sets).unwrap_err();
        assert!(refused.to_string().contains("no set takes"), "{refused}");
    }
}
