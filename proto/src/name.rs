//! Gate names, which are salt for the keys (README.md section 2), and service names (section 5, item kind 2).

use alloc::boxed::Box;
use core::fmt;

use crate::key_error::KeyError;
use crate::limits::{GATE_NAME_MAX, NAME_MAX};
use crate::malformed::Malformed;

/// The name of a gate: 1 to 255 bytes of UTF-8.
///
/// Two spellings of one host name are two gates: the name is not normalized.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GateName(Box<str>);

impl GateName {
    /// Takes a name of 1 to 255 bytes. Any other length is [`KeyError::GateName`].
    pub fn new(name: &str) -> Result<Self, KeyError> {
        if name.is_empty() || name.len() > GATE_NAME_MAX {
            return Err(KeyError::GateName);
        }
        Ok(Self(name.into()))
    }

    /// The name as given.
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

/// The name of a service: 1 to 32 of `a`–`z`, `0`–`9`, `-` and `_`, starting with a letter or a digit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName {
    // Zeros follow the name, so that names sort like their text.
    bytes: [u8; NAME_MAX],
    len: u8,
}

impl ServiceName {
    /// Takes a name. Errors: [`Malformed::NameLength`], [`Malformed::NameCharacters`].
    pub fn new(name: &str) -> Result<Self, Malformed> {
        Self::from_bytes(name.as_bytes())
    }

    pub(crate) fn from_bytes(name: &[u8]) -> Result<Self, Malformed> {
        let (&initial, _) = name.split_first().ok_or(Malformed::NameLength)?;
        let mut bytes = [0; NAME_MAX];
        let room = bytes.get_mut(..name.len()).ok_or(Malformed::NameLength)?;
        let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if !word(initial)
            || !name
                .iter()
                .all(|&byte| word(byte) || byte == b'-' || byte == b'_')
        {
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

/// The first `len` bytes, which are ASCII.
pub(crate) fn text(bytes: &[u8], len: u8) -> &str {
    bytes
        .get(..usize::from(len))
        .and_then(|bytes| core::str::from_utf8(bytes).ok())
        .unwrap_or_default()
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
        assert_eq!(
            GateName::new(&"ü".repeat(128)),
            Err(KeyError::GateName),
            "bytes are counted, not characters"
        );
    }
}
