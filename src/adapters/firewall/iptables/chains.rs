//! The chains that Postern owns: their names, and which of them are needed.

use crate::model::address::Family;
use crate::model::grant::Grant;
use crate::model::settings::Protection;

/// Table filter: packets to the gate. The first rule of INPUT jumps to it.
pub(super) const INPUT: &str = "POSTERN";
pub(super) const INPUT_GRANTS: &str = "POSTERN-GRANTS";
/// Table filter: forwarded packets. The first rule of FORWARD jumps to it.
pub(super) const FORWARD: &str = "POSTERN-FWD";
pub(super) const FORWARD_GRANTS: &str = "POSTERN-FWD-GRANTS";
/// Table filter: marks a granted packet. The host's own rules decide about it, and those of Postern in the host's chains
/// accept what has the mark.
pub(super) const MARK: &str = "POSTERN-MARK";
/// To test a match; no rule jumps to it.
pub(super) const PROBE: &str = "POSTERN-PROBE";
/// All chains in table filter; a chain that jumps comes before the chain that it jumps to.
pub(super) const FILTER_CHAINS: [&str; 6] =
    [INPUT, INPUT_GRANTS, FORWARD, FORWARD_GRANTS, MARK, PROBE];
/// Table raw: the first rule of PREROUTING jumps to it. It sends what may be knocks and hits to the next chain.
pub(super) const SENSOR: &str = "POSTERN-SENSOR";
/// Table raw: logs knocks and hits for the engine.
pub(super) const SENSED: &str = "POSTERN-SENSED";
/// A chain that jumps comes before the chain that it jumps to.
pub(super) const RAW_CHAINS: [&str; 2] = [SENSOR, SENSED];
/// Table nat: the first rule of PREROUTING jumps to it.
pub(super) const DNAT: &str = "POSTERN-DNAT";
/// Table nat: the first rule of POSTROUTING jumps to it.
pub(super) const SNAT: &str = "POSTERN-SNAT";
pub(super) const NAT_CHAINS: [&str; 2] = [DNAT, SNAT];
pub(super) const GRANT_CHAINS: [&str; 4] = [INPUT_GRANTS, FORWARD_GRANTS, DNAT, SNAT];
/// Empty chains of earlier releases.
pub(super) const CREATED_FILTER: &str = "POSTERN-NEW";
pub(super) const CREATED_NAT: &str = "POSTERN-NEW-NAT";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NeededChains {
    pub(super) forward: bool,
    pub(super) nat: bool,
    pub(super) sensor: bool,
}

impl NeededChains {
    pub(super) fn new(family: Family, protection: &Protection, live: &[&Grant]) -> Self {
        let of_live = || live.iter().flat_map(|grant| &grant.forwards);
        let leads_behind = of_live().any(|forward| forward.host.is_some());
        let targeted = live.iter().any(|grant| grant.target.is_some());
        let mut forwards = of_live().chain(&protection.forwards);
        Self {
            forward: leads_behind || targeted || !protection.behind.is_empty(),
            nat: forwards.any(|forward| forward.takes(family)),
            sensor: protection.sensor.is_some(),
        }
    }

    /// The tables with these chains.
    pub(super) fn tables(self) -> &'static [&'static str] {
        match (self.nat, self.sensor) {
            (false, false) => &["filter"],
            (false, true) => &["filter", "raw"],
            (true, false) => &["filter", "nat"],
            (true, true) => &["filter", "nat", "raw"],
        }
    }
}

pub(super) fn service_chain(grant: &Grant) -> &'static str {
    if grant.target.is_some() {
        FORWARD_GRANTS
    } else {
        INPUT_GRANTS
    }
}

pub(super) fn chains_of(grant: &Grant) -> Vec<&'static str> {
    let mut chains = Vec::new();
    if !grant.services.is_empty() {
        chains.push(service_chain(grant));
    }
    for forward in &grant.forwards {
        let enters = forward.host.map_or(INPUT_GRANTS, |_| FORWARD_GRANTS);
        chains.extend([enters, DNAT]);
    }
    if grant.forwards.iter().any(|forward| forward.masquerade) {
        chains.push(SNAT);
    }
    chains
}
