//! A service: protocol and ports (README.md section 5, item kind 1). The type can hold only valid values.

use crate::malformed::Malformed;

/// The protocols that a service can have, by their IANA numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Protocol {
    /// ICMP, which has no ports.
    Icmp = 1,
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
    /// ICMPv6, which has no ports.
    Icmpv6 = 58,
    /// SCTP.
    Sctp = 132,
}

impl Protocol {
    /// The protocol with this IANA number, if a service can have it.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Icmp,
            6 => Self::Tcp,
            17 => Self::Udp,
            58 => Self::Icmpv6,
            132 => Self::Sctp,
            _ => return None,
        })
    }

    /// Its IANA number.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Whether its services have ports.
    #[must_use]
    pub fn has_ports(self) -> bool {
        match self {
            Self::Tcp | Self::Udp | Self::Sctp => true,
            Self::Icmp | Self::Icmpv6 => false,
        }
    }
}

/// A protocol and a range of its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Service {
    protocol: Protocol,
    first: u16,
    last: u16,
}

impl Service {
    /// The ports from `first` to `last`: 1 ≤ first ≤ last, or both 0 for a protocol without ports.
    /// Anything else is [`Malformed::ServicePorts`].
    pub fn new(protocol: Protocol, first: u16, last: u16) -> Result<Self, Malformed> {
        let fits = if protocol.has_ports() {
            1 <= first && first <= last
        } else {
            first == 0 && last == 0
        };
        if !fits {
            return Err(Malformed::ServicePorts);
        }
        Ok(Self {
            protocol,
            first,
            last,
        })
    }

    /// The protocol.
    #[must_use]
    pub fn protocol(self) -> Protocol {
        self.protocol
    }

    /// The first port, 0 for a protocol without ports.
    #[must_use]
    pub fn first(self) -> u16 {
        self.first
    }

    /// The last port, 0 for a protocol without ports.
    #[must_use]
    pub fn last(self) -> u16 {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_is_known_by_its_iana_number() {
        let known = (0..=255)
            .filter_map(Protocol::from_number)
            .map(Protocol::number);
        assert!(known.eq([1, 6, 17, 58, 132]));
    }
}
