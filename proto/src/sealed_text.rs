//! A short text sealed for one gate, which opens it with its private key. A roster carries secrets of users in this form.
//!
//! The sealed bytes: the public half of a fresh key pair, the text encrypted with ChaCha20-Poly1305, the tag. The key is
//! HKDF-SHA256 of the X25519 secret and both public keys; its info binds the context, such as the names of gate and user.

use alloc::vec::Vec;

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce, Tag};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use crate::key_error::KeyError;
use crate::limits::{KEY_LEN, NONCE_LEN, TAG_LEN};
use crate::pair::{PrivateKey, PublicKey};

/// How much longer the sealed bytes are than the text.
pub const SEALED_TEXT_OVERHEAD: usize = KEY_LEN + TAG_LEN;

const SALT: &[u8] = b"postern/1 sealed text";

/// Each key encrypts one text, so the nonce need not differ.
const NONCE: [u8; NONCE_LEN] = [0; NONCE_LEN];

/// Seals a text for the gate with this public key. `fresh` is a new key pair, used for nothing else.
///
/// [`KeyError::ZeroSecret`] if the gate's public key is a point of small order.
pub fn seal_text(
    gate: &PublicKey,
    fresh: &PrivateKey,
    context: &[u8],
    text: &[u8],
) -> Result<Vec<u8>, KeyError> {
    let secret = fresh.agree(gate)?;
    let cipher = cipher(&secret, &fresh.public(), gate, context);
    let mut sealed = Vec::with_capacity(text.len() + SEALED_TEXT_OVERHEAD);
    sealed.extend_from_slice(fresh.public().as_bytes());
    sealed.extend_from_slice(text);
    let body = sealed.get_mut(KEY_LEN..).unwrap_or_default();
    match cipher.encrypt_inout_detached(&Nonce::from(NONCE), &[], body.into()) {
        Ok(tag) => sealed.extend_from_slice(&tag),
        Err(_) => {
            sealed.zeroize();
            unreachable!("a text is shorter than 256 GiB");
        }
    }
    Ok(sealed)
}

/// Opens what [`seal_text`] made for this gate and context; `None` if it did not.
#[must_use]
pub fn open_text(gate: &PrivateKey, context: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (fresh, rest) = sealed.split_first_chunk::<KEY_LEN>()?;
    let (body, tag) = rest.split_last_chunk::<TAG_LEN>()?;
    let fresh = PublicKey::from_bytes(*fresh);
    let secret = gate.agree(&fresh).ok()?;
    let cipher = cipher(&secret, &fresh, &gate.public(), context);
    let mut text = Zeroizing::new(body.to_vec());
    cipher
        .decrypt_inout_detached(
            &Nonce::from(NONCE),
            &[],
            text.as_mut_slice().into(),
            &Tag::from(*tag),
        )
        .ok()?;
    Some(text)
}

fn cipher(
    secret: &[u8; KEY_LEN],
    fresh: &PublicKey,
    gate: &PublicKey,
    context: &[u8],
) -> ChaCha20Poly1305 {
    let mut material = Zeroizing::new([0; 3 * KEY_LEN]);
    let parts = [secret, fresh.as_bytes(), gate.as_bytes()];
    for (to, from) in material.iter_mut().zip(parts.into_iter().flatten()) {
        *to = *from;
    }
    let hkdf = Hkdf::<Sha256>::new(Some(SALT), material.as_slice());
    let mut key = Zeroizing::new([0; KEY_LEN]);
    if hkdf.expand(context, key.as_mut_slice()).is_err() {
        unreachable!("HKDF-Expand gives 32 bytes");
    }
    ChaCha20Poly1305::new((&*key).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_gate_and_context_open_it() {
        let [gate, other, fresh] = [1, 2, 3].map(|byte| PrivateKey::from_bytes([byte; 32]));
        let sealed = seal_text(&gate.public(), &fresh, b"gate/alice", b"key").unwrap();
        assert_eq!(sealed.len(), 3 + SEALED_TEXT_OVERHEAD);
        let opened = open_text(&gate, b"gate/alice", &sealed).unwrap();
        assert_eq!(opened.as_slice(), b"key");
        assert!(open_text(&other, b"gate/alice", &sealed).is_none());
        assert!(open_text(&gate, b"gate/bob", &sealed).is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open_text(&gate, b"gate/alice", &changed).is_none(), "{at}");
            assert!(open_text(&gate, b"gate/alice", &sealed[..at]).is_none());
        }
        let zero = PublicKey::from_bytes([0; 32]);
        assert!(seal_text(&zero, &fresh, b"", b"key").is_err());
    }
}
