//! The key of a user's sequences.

use core::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::{Zeroize, Zeroizing};

const KEY_LEN: usize = 32;
const TEXT_LEN: usize = 44;

/// 32 random bytes. Wiped when dropped, and not shown by Debug.
pub struct Key([u8; KEY_LEN]);

impl Key {
    /// Takes 32 random bytes. The caller wipes its own copy.
    #[must_use]
    pub fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// Decodes 44 characters of canonical base64.
    pub fn from_base64(text: &str) -> Result<Self, BadKey> {
        if text.len() != TEXT_LEN {
            return Err(BadKey);
        }
        // The decoder wants room for a whole last group.
        let mut bytes = Zeroizing::new([0; KEY_LEN + 1]);
        let len = STANDARD
            .decode_slice(text, &mut *bytes)
            .map_err(|_| BadKey)?;
        let [key @ .., _] = *bytes;
        if len == KEY_LEN {
            Ok(Self(key))
        } else {
            Err(BadKey)
        }
    }

    pub(crate) fn bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl zeroize::ZeroizeOnDrop for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// The text is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BadKey;

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key must be canonical base64 of 32 bytes, with padding")
    }
}

impl core::error::Error for BadKey {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn only_canonical_base64_is_a_key() {
        let text = STANDARD.encode([7; 32]);
        let key = Key::from_base64(&text).unwrap();
        assert_eq!(key.bytes(), &[7; 32]);
        assert_eq!(format!("{key:?}"), "Key(..)");
        let spare = text.replace("c=", "d=");
        for text in [
            &text[..43],
            &format!("{text}="),
            &spare,
            &STANDARD.encode([7; 31]),
        ] {
            assert_eq!(Key::from_base64(text).err(), Some(BadKey), "{text}");
        }
    }
}
