//! A sequence: the hits that it expects, in order, and their conditions.

use std::fmt;
use std::time::Duration;

use postern_proto::{Protocol, Service};

use crate::model::service::Ports;

/// A sequence has at most 32 hits.
pub const HITS_MAX: usize = 32;
/// How many ports one hit can have: the machine reports which one in a byte.
const PORTS_MAX: u16 = 256;

/// The caller's number of a sequence. It says whose it is, and of which step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(pub u64);

/// Which packets are a hit: one port or a few.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Expected {
    pub protocol: Protocol,
    pub first: u16,
    pub last: u16,
}

impl Expected {
    pub const fn port(protocol: Protocol, port: u16) -> Self {
        Self {
            protocol,
            first: port,
            last: port,
        }
    }

    /// The same as ports of a service; `None` if it is not valid.
    pub fn ports(self) -> Option<Ports> {
        let service = Service::new(self.protocol, self.first, self.last);
        service.ok().map(Ports::from)
    }

    pub fn contains(self, other: Self) -> bool {
        self.protocol == other.protocol && self.first <= other.first && other.last <= self.last
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ports().map_or(Ok(()), |ports| ports.fmt(f))
    }
}

/// Which TCP flags must be set and which must not. Other packets of this source neither count nor break its attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    pub set: u8,
    pub clear: u8,
}

impl Flags {
    pub const fn fit(self, flags: u8) -> bool {
        flags & self.set == self.set && flags & self.clear == 0
    }
}

/// Hits in order, valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    hits: Vec<Expected>,
    timeout: Duration,
    flags: Flags,
}

impl Sequence {
    /// 1 to 32 hits, from the first to the last within `timeout`.
    pub fn new(hits: Vec<Expected>, timeout: Duration, flags: Flags) -> Result<Self, Invalid> {
        if !(1..=HITS_MAX).contains(&hits.len()) {
            return Err(Invalid::Hits);
        }
        let valid = |hit: &Expected| {
            let port = if hit.protocol.has_ports() {
                hit.first >= 1
            } else {
                hit.last == 0
            };
            port && hit.first <= hit.last && hit.last - hit.first < PORTS_MAX
        };
        if !hits.iter().all(valid) {
            return Err(Invalid::Ports);
        }
        if flags.set & flags.clear != 0 {
            return Err(Invalid::Flags);
        }
        if timeout.is_zero() {
            return Err(Invalid::Timeout);
        }
        Ok(Self {
            hits,
            timeout,
            flags,
        })
    }

    pub fn hits(&self) -> &[Expected] {
        &self.hits
    }

    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    pub fn flags(&self) -> Flags {
        self.flags
    }

    /// Whether a keyed sequence in these ports can begin with this sequence's first hit. Then one of them would be
    /// refused now and then, when their hits are the same by chance.
    pub fn begins_within(&self, keyed: Expected) -> bool {
        self.hits.first().is_some_and(|first| {
            first.protocol == keyed.protocol
                && first.first <= keyed.last
                && keyed.first <= first.last
        })
    }
}

/// Why a sequence is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("a sequence must have 1 to 32 hits")]
    Hits,
    #[error("a hit must have a port from 1 to 65535, or none for ICMP, and at most 256 ports")]
    Ports,
    #[error("a TCP flag cannot be both set and not set")]
    Flags,
    #[error("the time for a sequence must not be zero")]
    Timeout,
}
