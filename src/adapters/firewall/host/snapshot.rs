//! A snapshot of the host: its rules, interfaces, addresses and listening sockets.
//!
//! Changes nothing. A part that cannot be read is listed in `unseen`, never left out.

use std::net::SocketAddr;

use super::interfaces::{self, Network};
use super::listeners;
use super::rules::{self, Tools};
use super::{nf_tables, tracking};
use crate::core::host_rules::{Ruleset, Table, Tracking};
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

pub(crate) fn take(configured: &Interfaces, tools: &mut Tools<'_>) -> HostSnapshot {
    let mut unseen = Vec::new();
    let chains = rules::read(tools, &mut unseen);
    HostSnapshot {
        rules: Ruleset { chains },
        owned: nf_tables::open()
            .ok()
            .and_then(|mut source| nf_tables::owned_tables(&mut source).ok())
            .unwrap_or_default(),
        network: interfaces::read(configured),
        listeners: listeners::read(&mut unseen),
        has_ip6tables: (tools.find)("ip6tables-restore").is_some(),
        tracking: tracking::read(),
        unseen,
    }
}
