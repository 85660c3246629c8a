//! The gate's name, which binds a knock to one gate.
//!
//! Only its length is checked: the name is salt for the keys (section 2), not an address, and is never resolved here.

use alloc::boxed::Box;
use core::fmt;

use crate::key::KeyError;
use crate::limits::GATE_NAME_MAX;

/// The name of a gate: 1 to 255 bytes of UTF-8.
///
/// Two spellings of one host name are two gates: nothing is folded or normalized.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GateName(Box<str>);

impl GateName {
    /// Takes a name of 1 to 255 bytes; any other length is [`KeyError::GateName`].
    pub fn new(name: &str) -> Result<Self, KeyError> {
        if name.is_empty() || name.len() > GATE_NAME_MAX {
            return Err(KeyError::GateName);
        }
        Ok(Self(name.into()))
    }

    /// The name as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_1_to_255_bytes_of_utf8() {
        assert_eq!(GateName::new(""), Err(KeyError::GateName));
        assert_eq!(GateName::new("g").unwrap().as_str(), "g");
        assert!(GateName::new(&"g".repeat(255)).is_ok());
        assert_eq!(GateName::new(&"g".repeat(256)), Err(KeyError::GateName));
        assert!(GateName::new(&"ü".repeat(127)).is_ok(), "254 bytes");
        assert_eq!(GateName::new(&"ü".repeat(128)), Err(KeyError::GateName), "bytes are counted, not characters");
    }
}
