//! The packet that a judgement is about.

use ipnet::IpNet;

use crate::model::address::Family;
use crate::model::service::Ports;

/// A packet of an ordinary stranger. It fulfils no condition that only few packets fulfil.
#[derive(Debug, Clone)]
pub(crate) struct Packet<'a> {
    pub(crate) family: Family,
    pub(crate) service: Ports,
    pub(crate) original: Option<Ports>,
    pub(crate) is_established: bool,
    /// The interface that receives it; empty if the name does not matter.
    pub(crate) interface: &'a str,
    pub(crate) destinations: &'a [IpNet],
    pub(crate) known_chains: &'a [KnownChain],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KnownChain {
    pub(crate) name: &'static str,
    pub(crate) accepts: bool,
}
