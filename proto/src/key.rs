//! The keys that files hold: shared, private, public and pre-shared (section 2).
//!
//! Owns their text form, strict base64, and their wiping. Makes no random bytes: those come from the caller.
//! The secret ones show no byte in Debug, cannot be cloned, and compare in constant time.

use core::fmt;
use core::ops::Deref;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;
use x25519_dalek::StaticSecret;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::limits::{KEY_LEN, KEY_TEXT_LEN};

macro_rules! secret_key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name([u8; KEY_LEN]);

        impl $name {
            /// Takes 32 random bytes. The caller wipes its own copy.
            #[must_use]
            pub fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
                Self(bytes)
            }

            /// Reads 44 characters of canonical base64.
            pub fn from_base64(text: &str) -> Result<Self, KeyError> {
                read_base64(text).map(|bytes| Self(*bytes))
            }

            /// The key as text, which is wiped when it is dropped.
            #[must_use]
            pub fn to_base64(&self) -> KeyText {
                KeyText::of(&self.0)
            }

            pub(crate) fn bytes(&self) -> &[u8; KEY_LEN] {
                &self.0
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.ct_eq(&other.0).into()
            }
        }

        impl Eq for $name {}

        impl Drop for $name {
            fn drop(&mut self) {
                self.0.zeroize();
            }
        }

        impl ZeroizeOnDrop for $name {}

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    };
}

secret_key! {
    /// A key that client and gate share: 32 random bytes.
    SharedKey
}

secret_key! {
    /// An X25519 private key, of a client or of a gate: 32 random bytes, clamped in use (RFC 7748).
    PrivateKey
}

secret_key! {
    /// A key that may be mixed into a key pair's secret: 32 random bytes.
    PresharedKey
}

impl PrivateKey {
    /// The public key that belongs to it. Costs one X25519.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let secret = StaticSecret::from(self.0);
        PublicKey(x25519_dalek::PublicKey::from(&secret).to_bytes())
    }
}

/// An X25519 public key, of a client or of a gate: 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; KEY_LEN]);

impl PublicKey {
    /// Takes the key's bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// Reads 44 characters of canonical base64.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        read_base64(text).map(|bytes| Self(*bytes))
    }

    /// The key as text.
    #[must_use]
    pub fn to_base64(&self) -> KeyText {
        KeyText::of(&self.0)
    }

    /// The key's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_base64())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// A key in base64: 44 characters, wiped when dropped.
pub struct KeyText([u8; KEY_TEXT_LEN]);

impl KeyText {
    fn of(key: &[u8; KEY_LEN]) -> Self {
        let mut text = Self([0; KEY_TEXT_LEN]);
        // 32 bytes are always 44 characters, so the room is always enough.
        let written = STANDARD.encode_slice(key, &mut text.0);
        debug_assert_eq!(written, Ok(KEY_TEXT_LEN));
        text
    }
}

impl Deref for KeyText {
    type Target = str;

    fn deref(&self) -> &str {
        // Base64 is ASCII: the default is never taken.
        core::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Drop for KeyText {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for KeyText {}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText(..)")
    }
}

/// What is wrong with a key or with what it is made from. Never carries a byte of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyError {
    /// A gate name has 1 to 255 bytes.
    GateName,
    /// A key is written with 44 characters.
    Length,
    /// A key is canonical base64 of 32 bytes, with padding.
    Base64,
    /// The two keys of a pair agree on nothing but zeros.
    ZeroSecret,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GateName => "a gate name must have 1 to 255 bytes",
            Self::Length => "a key must have exactly 44 characters of base64",
            Self::Base64 => "a key must be canonical base64 of 32 bytes, with padding",
            Self::ZeroSecret => "the public key is a weak point: the shared secret would be all zero",
        })
    }
}

impl core::error::Error for KeyError {}

/// Strict: the standard alphabet, padding, no stray bits behind the last byte, no white space.
fn read_base64(text: &str) -> Result<Zeroizing<[u8; KEY_LEN]>, KeyError> {
    if text.len() != KEY_TEXT_LEN {
        return Err(KeyError::Length);
    }
    // 44 characters without padding are 33 bytes: the room lets the decoder get as far as noticing.
    let mut room = Zeroizing::new([0; KEY_LEN + 1]);
    match STANDARD.decode_slice(text, room.as_mut_slice()) {
        Ok(KEY_LEN) => {}
        Ok(_) | Err(_) => return Err(KeyError::Base64),
    }
    let key = room.first_chunk().ok_or(KeyError::Base64)?;
    Ok(Zeroizing::new(*key))
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::ToString;

    use super::*;

    const TEXT: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn counting() -> [u8; KEY_LEN] {
        core::array::from_fn(|i| i as u8)
    }

    #[test]
    fn a_key_reads_back_from_its_text() {
        let key = SharedKey::from_bytes(counting());
        assert_eq!(&*key.to_base64(), TEXT);
        assert_eq!(SharedKey::from_base64(TEXT), Ok(key));
    }

    #[test]
    fn only_canonical_base64_of_32_bytes_is_a_key() {
        let refused = |text: &str| SharedKey::from_base64(text).err();
        assert_eq!(refused(""), Some(KeyError::Length));
        assert_eq!(refused(TEXT.trim_end_matches('=')), Some(KeyError::Length));
        assert_eq!(refused(&format!("{TEXT}\n")), Some(KeyError::Length));
        assert_eq!(refused(&TEXT.replace("8=", "9=")), Some(KeyError::Base64), "stray bits");
        assert_eq!(refused(&TEXT.replace('=', "A")), Some(KeyError::Base64), "33 bytes");
        assert_eq!(refused(&TEXT.replace("8=", "==")), Some(KeyError::Base64), "31 bytes");
        assert_eq!(refused(&TEXT.replace("AAE", "A-_")), Some(KeyError::Base64), "URL alphabet");
        assert_eq!(refused(&TEXT.replace("AAE", " AE")), Some(KeyError::Base64), "white space");
        assert_eq!(refused(&TEXT.replace("AAE", "=AE")), Some(KeyError::Base64));
        assert_eq!(refused(&"é".repeat(22)), Some(KeyError::Base64));
    }

    #[test]
    fn secret_keys_do_not_show_in_debug() {
        let shown = format!(
            "{:?} {:?} {:?} {:?}",
            SharedKey::from_bytes([0x5a; 32]),
            PrivateKey::from_bytes([0x5a; 32]),
            PresharedKey::from_bytes([0x5a; 32]),
            SharedKey::from_bytes([0x5a; 32]).to_base64(),
        );
        assert_eq!(shown, "SharedKey(..) PrivateKey(..) PresharedKey(..) KeyText(..)");
    }

    #[test]
    fn a_private_key_gives_the_public_key_of_rfc_7748() {
        let private = hex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
        let public = hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
        assert_eq!(PrivateKey::from_bytes(private).public(), PublicKey::from_bytes(public));
    }

    #[test]
    fn a_public_key_shows_itself_as_base64() {
        let key = PublicKey::from_bytes(counting());
        assert_eq!(key.to_string(), TEXT);
        assert_eq!(PublicKey::from_base64(TEXT), Ok(key));
    }

    fn hex(text: &str) -> [u8; 32] {
        core::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
    }
}
