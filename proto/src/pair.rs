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
