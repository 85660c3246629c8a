//! The packet that a judgement is about.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::address::Family;
use crate::model::host_set::HostSet;
use crate::model::service::Ports;

/// An ordinary packet. It fulfils no condition that only few packets fulfil.
#[derive(Debug, Clone)]
pub(crate) struct Packet<'a> {
    pub(crate) family: Family,
    pub(crate) service: Ports,
    /// What it was sent to, if a rule has translated its destination.
    pub(crate) original: Option<Original<'a>>,
    pub(crate) is_established: bool,
    /// The sender; `None` for an ordinary stranger, whom no rule names.
    pub(crate) source: Option<IpAddr>,
    /// Its destination is another host.
    pub(crate) is_forwarded: bool,
    /// The packet mark. A stranger's is 0.
    pub(crate) mark: u32,
    /// The interface that receives it; empty if the name does not matter.
    pub(crate) interface: &'a str,
    /// The interface that it leaves by; `None` if that is not known.
    pub(crate) out_interface: Option<&'a str>,
    pub(crate) destinations: &'a [IpNet],
    pub(crate) known_chains: &'a [KnownChain],
    /// Sets of the host that have its source.
    pub(crate) sets: &'a [HostSet],
}

/// A service of this host, before a rule translated the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Original<'a> {
    pub(crate) service: Ports,
    /// Addresses of this host.
    pub(crate) destinations: &'a [IpNet],
}

impl<'a> Packet<'a> {
    /// The same packet before the translation; `None` without one.
    pub(super) fn before_translation(&self) -> Option<Self> {
        self.original.map(|original| Self {
            service: original.service,
            destinations: original.destinations,
            original: None,
            is_forwarded: false,
            out_interface: None,
            ..self.clone()
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KnownChain {
    pub(crate) name: &'static str,
    pub(crate) accepts: bool,
}

/// What rules change about a packet on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) mark: u32,
    /// The bits of the mark that are known.
    pub(super) known: u32,
    pub(super) tracking: Tracking,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Tracking {
    /// Connection tracking sees the packet later.
    NotYet,
    Tracked,
    Untracked,
    Unknown,
}

impl State {
    pub(super) fn of(packet: &Packet<'_>) -> Self {
        Self {
            mark: packet.mark,
            known: u32::MAX,
            tracking: Tracking::Tracked,
        }
    }

    pub(super) fn has_mark(self, value: u32, mask: u32) -> Option<bool> {
        if (self.mark ^ value) & mask & self.known != 0 || value & !mask != 0 {
            return Some(false);
        }
        (mask & !self.known == 0).then_some(true)
    }

    /// What is known if it is one of both.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            mark: self.mark,
            known: self.known & other.known & !(self.mark ^ other.mark),
            tracking: if self.tracking == other.tracking {
                self.tracking
            } else {
                Tracking::Unknown
            },
        }
    }
}
