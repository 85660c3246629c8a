//! A snapshot of the host: its rules, interfaces, addresses and listening sockets.
//!
//! Changes nothing. A part that cannot be read is listed in `unseen`, never left out.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::interfaces::{self, Network};
use super::listeners;
use super::programs::Tools;
use super::rules::KeptRules;
use super::{nf_tables, tracking};
use crate::core::host_rules::{Ruleset, Sought, Table, Tracking};
use crate::model::address::Family;
use crate::model::settings::Interfaces;

#[derive(Debug, Clone, Default)]
pub(crate) struct HostSnapshot {
    pub(crate) rules: Ruleset,
    /// nft tables that only their owner may change.
    pub(crate) owned: Vec<Table>,
    pub(crate) network: Network,
    pub(crate) listeners: Vec<SocketAddr>,
    pub(crate) has_ip6tables: bool,
    pub(crate) tracking: Tracking,
    pub(crate) unseen: Vec<String>,
}

impl HostSnapshot {
    pub(crate) fn has(&self, family: Family) -> bool {
        self.network
            .addresses
            .iter()
            .any(|network| Family::of(network.addr()) == family)
    }
}

/// Takes the chains that packets of this source, or of a stranger, may enter; to this host or to one of these networks.
pub(crate) fn take(
    configured: &Interfaces,
    source: Option<IpAddr>,
    targets: &[IpNet],
    tools: &mut Tools<'_>,
) -> HostSnapshot {
    let mut unseen = Vec::new();
    let network = interfaces::read(configured);
    let mut names = network.interfaces.clone();
    names.extend(source.map(|_| "lo".to_owned()));
    let sought = Sought::by(&names).from(source);
    let mut kept = KeptRules::all(sought.to(&network.addresses, targets));
    kept.refresh_parts(tools, &mut unseen);
    HostSnapshot {
        rules: kept.rules().clone(),
        owned: nf_tables::open()
            .ok()
            .and_then(|mut source| nf_tables::owned_tables(&mut source).ok())
            .unwrap_or_default(),
        network,
        listeners: listeners::read(&mut unseen),
        has_ip6tables: (tools.find)("ip6tables-restore").is_some(),
        tracking: tracking::read(),
        unseen,
    }
}
