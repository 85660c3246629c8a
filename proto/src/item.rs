//! What can stand in a request's list: services, their names, a code (section 5).
//!
//! Each type can only hold what the rules allow, so that a value in hand is a rule kept.

use alloc::vec::Vec;
use core::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::limits::{CODE_MAX, CODE_MIN, NAME_MAX};
use crate::malformed::Malformed;

/// One item of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// Kind 1: a protocol and its ports.
    Service(Service),
    /// Kind 2: a service that the gate's config defines.
    Name(ServiceName),
    /// Kind 3: a one-time code.
    Code(Code),
    /// Kinds 128 to 255: unknown to this version, which steps over it.
    Skipped {
        /// 128 to 255.
        kind: u8,
        /// Up to 255 bytes.
        value: Vec<u8>,
    },
}

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
    /// Otherwise [`Malformed::ServicePorts`].
    pub fn new(protocol: Protocol, first: u16, last: u16) -> Result<Self, Malformed> {
        let fits = if protocol.has_ports() { 1 <= first && first <= last } else { first == 0 && last == 0 };
        if !fits {
            return Err(Malformed::ServicePorts);
        }
        Ok(Self { protocol, first, last })
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

/// The name of a service: 1 to 32 of `a`–`z`, `0`–`9`, `-` and `_`, starting with a letter or a digit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName {
    // Zeros behind the name, so that names sort as their text does.
    bytes: [u8; NAME_MAX],
    len: u8,
}

impl ServiceName {
    /// Takes a name, or says with [`Malformed::NameLength`] or [`Malformed::NameCharacters`] why it is none.
    pub fn new(name: &str) -> Result<Self, Malformed> {
        Self::from_bytes(name.as_bytes())
    }

    pub(crate) fn from_bytes(name: &[u8]) -> Result<Self, Malformed> {
        let (&initial, _) = name.split_first().ok_or(Malformed::NameLength)?;
        let mut bytes = [0; NAME_MAX];
        let room = bytes.get_mut(..name.len()).ok_or(Malformed::NameLength)?;
        let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if !word(initial) || !name.iter().all(|&byte| word(byte) || byte == b'-' || byte == b'_') {
            return Err(Malformed::NameCharacters);
        }
        room.copy_from_slice(name);
        let len = u8::try_from(name.len()).map_err(|_| Malformed::NameLength)?;
        Ok(Self { bytes, len })
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        text(&self.bytes, self.len)
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceName({self})")
    }
}

/// A time-based one-time password (RFC 6238): 6 to 8 ASCII digits. Wiped when dropped, compared in constant time.
#[derive(Clone)]
pub struct Code {
    digits: [u8; CODE_MAX],
    len: u8,
}

impl Code {
    /// Takes the digits, or says with [`Malformed::CodeLength`] or [`Malformed::CodeDigits`] why they are no code.
    pub fn new(digits: &str) -> Result<Self, Malformed> {
        Self::from_bytes(digits.as_bytes())
    }

    pub(crate) fn from_bytes(digits: &[u8]) -> Result<Self, Malformed> {
        if !(CODE_MIN..=CODE_MAX).contains(&digits.len()) {
            return Err(Malformed::CodeLength);
        }
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(Malformed::CodeDigits);
        }
        let mut code = Self { digits: [0; CODE_MAX], len: 0 };
        for (to, from) in code.digits.iter_mut().zip(digits) {
            *to = *from;
            code.len += 1;
        }
        Ok(code)
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        text(&self.digits, self.len)
    }
}

impl PartialEq for Code {
    fn eq(&self, other: &Self) -> bool {
        // Zeros stand behind the digits and are none: equal arrays have equal lengths.
        self.digits.ct_eq(&other.digits).into()
    }
}

impl Eq for Code {}

impl Drop for Code {
    fn drop(&mut self) {
        self.digits.zeroize();
    }
}

impl ZeroizeOnDrop for Code {}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(..)")
    }
}

/// The first `len` bytes, which their owner has checked to be ASCII.
fn text(bytes: &[u8], len: u8) -> &str {
    bytes.get(..usize::from(len)).and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    #[test]
    fn ports_are_in_order_and_none_for_icmp() {
        use Protocol::{Icmp, Icmpv6, Sctp, Tcp, Udp};
        for protocol in [Tcp, Udp, Sctp] {
            assert!(Service::new(protocol, 1, 1).is_ok());
            assert!(Service::new(protocol, 1, u16::MAX).is_ok());
            assert_eq!(Service::new(protocol, 0, 0), Err(Malformed::ServicePorts));
            assert_eq!(Service::new(protocol, 0, 22), Err(Malformed::ServicePorts));
            assert_eq!(Service::new(protocol, 23, 22), Err(Malformed::ServicePorts));
        }
        for protocol in [Icmp, Icmpv6] {
            assert!(Service::new(protocol, 0, 0).is_ok());
            assert_eq!(Service::new(protocol, 0, 1), Err(Malformed::ServicePorts));
            assert_eq!(Service::new(protocol, 8, 8), Err(Malformed::ServicePorts));
        }
    }

    #[test]
    fn a_protocol_is_known_by_its_iana_number() {
        let known = (0..=255).filter_map(Protocol::from_number).map(Protocol::number);
        assert!(known.eq([1, 6, 17, 58, 132]));
    }

    #[test]
    fn a_service_name_keeps_to_its_characters() {
        for name in ["a", "0", "web", "web-2_b", "z".repeat(32).as_str()] {
            assert_eq!(ServiceName::new(name).unwrap().as_str(), name);
        }
        assert_eq!(ServiceName::new(""), Err(Malformed::NameLength));
        assert_eq!(ServiceName::new(&"z".repeat(33)), Err(Malformed::NameLength));
        for name in ["-web", "_web", "Web", "wEb", "web.2", "we b", "wéb", "web\0", "`", "{"] {
            assert_eq!(ServiceName::new(name), Err(Malformed::NameCharacters), "{name:?}");
        }
    }

    #[test]
    fn a_code_has_6_to_8_digits_and_hides_them() {
        for digits in ["000000", "1234567", "98765432"] {
            assert_eq!(Code::new(digits).unwrap().as_str(), digits);
        }
        for digits in ["", "12345", "123456789"] {
            assert_eq!(Code::new(digits), Err(Malformed::CodeLength));
        }
        for digits in ["12345a", "12345 ", "+12345", "٣٣٣"] {
            assert_eq!(Code::new(digits), Err(Malformed::CodeDigits));
        }
        assert_ne!(Code::new("123456"), Code::new("1234560"));
        assert_eq!(format!("{:?}", Code::new("123456")), "Ok(Code(..))");
    }
}
