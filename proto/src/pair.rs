//! Key pairs: the X25519 keys of clients and gates (README.md section 2, RFC 7748).

use core::fmt;

use subtle::ConstantTimeEq;
use x25519_dalek::StaticSecret;
use zeroize::{Zeroize, Zeroizing};

use crate::key_error::KeyError;
use crate::key_text::{KeyText, read_base64};
use crate::limits::KEY_LEN;
use crate::secret::secret;

/// An X25519 private key, of a client or of a gate: 32 random bytes, clamped in use.
///
/// Holds its public key, so that a gate computes it once and not for every user.
pub struct PrivateKey {
    secret: [u8; KEY_LEN],
    public: PublicKey,
}

impl PrivateKey {
    /// Takes 32 random bytes. The caller wipes its own copy. Costs one X25519.
    #[must_use]
    pub fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        let secret = StaticSecret::from(bytes);
        let public = PublicKey(x25519_dalek::PublicKey::from(&secret).to_bytes());
        Self {
            secret: bytes,
            public,
        }
    }

    /// Decodes 44 characters of canonical base64. Costs one X25519.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        read_base64(text).map(|bytes| Self::from_bytes(*bytes))
    }

    /// The key as text, wiped when dropped.
    #[must_use]
    pub fn to_base64(&self) -> KeyText {
        KeyText::of(&self.secret)
    }

    pub(crate) fn secret(&self) -> &[u8; KEY_LEN] {
        &self.secret
    }

    /// Its public key.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// The shared secret of this key and a peer's. A peer's key of small order gives [`KeyError::ZeroSecret`].
    pub(crate) fn agree(&self, peer: &PublicKey) -> Result<Zeroizing<[u8; KEY_LEN]>, KeyError> {
        let secret = StaticSecret::from(self.secret).diffie_hellman(&peer.0.into());
        if !secret.was_contributory() {
            return Err(KeyError::ZeroSecret);
        }
        Ok(Zeroizing::new(secret.to_bytes()))
    }
}

impl PartialEq for PrivateKey {
    fn eq(&self, other: &Self) -> bool {
        self.secret.ct_eq(&other.secret).into()
    }
}

impl Eq for PrivateKey {}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

secret!(PrivateKey);

/// All encodings of the points whose order divides the cofactor of the curve or of its twist: 0, 1, the two of order 8, and -1; then 0
/// and 1 with the prime added.
pub(crate) const SMALL_ORDER: [[u8; KEY_LEN]; 7] = [
    [0; KEY_LEN],
    around(1, 0),
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ],
    around(0xec, 0xff),
    around(0xed, 0xff),
    around(0xee, 0xff),
];

/// This first byte, and then others; the greatest bit is not set.
const fn around(first: u8, others: u8) -> [u8; KEY_LEN] {
    let mut bytes = [others; KEY_LEN];
    bytes[0] = first;
    bytes[KEY_LEN - 1] &= 0x7f;
    bytes
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

    /// Decodes 44 characters of canonical base64.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        read_base64(text).map(|bytes| Self(*bytes))
    }

    /// The key as text.
    #[must_use]
    pub fn to_base64(&self) -> KeyText {
        KeyText::of(&self.0)
    }

    /// Whether it is a point of small order: with every private key it gives [`KeyError::ZeroSecret`]. Costs no X25519.
    #[must_use]
    pub fn is_of_small_order(&self) -> bool {
        let mut bytes = self.0;
        // X25519 ignores this bit.
        if let Some(last) = bytes.last_mut() {
            *last &= 0x7f;
        }
        SMALL_ORDER.contains(&bytes)
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

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    const ALICE: &str = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a";
    const ALICE_PUBLIC: &str = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
    const BOB: &str = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb";
    const BOB_PUBLIC: &str = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f";
    const SECRET: &str = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";

    #[test]
    fn agreement_matches_rfc_7748() {
        let alice = PrivateKey::from_bytes(hex(ALICE));
        let bob = PrivateKey::from_bytes(hex(BOB));
        assert_eq!(*alice.public().as_bytes(), hex(ALICE_PUBLIC));
        assert_eq!(*bob.public().as_bytes(), hex(BOB_PUBLIC));
        assert_eq!(*alice.agree(&bob.public()).unwrap(), hex(SECRET));
        assert_eq!(*bob.agree(&alice.public()).unwrap(), hex(SECRET));
    }

    #[test]
    fn a_pair_reads_back_from_its_text() {
        let key = PrivateKey::from_bytes([0x5a; 32]);
        assert_eq!(format!("{key:?}"), "PrivateKey(..)");
        let expected = format!("PublicKey({})", &*key.public().to_base64());
        assert_eq!(format!("{:?}", key.public()), expected);
        let found = PublicKey::from_base64(&key.public().to_base64());
        assert_eq!(found, Ok(key.public()));
        assert_eq!(PrivateKey::from_base64(&key.to_base64()), Ok(key));
        assert_ne!(
            PrivateKey::from_bytes([0x5a; 32]),
            PrivateKey::from_bytes([0x5b; 32])
        );
    }

    fn hex(text: &str) -> [u8; 32] {
        core::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
    }
}
