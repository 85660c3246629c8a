//! A text that a gate keeps for itself, so that it need not open many sealed texts again. Only its private key opens it.
//!
//! The kept bytes: the text encrypted with ChaCha20-Poly1305, the tag, 32 random bytes. The key is HKDF-SHA256 of the private key,
//! with the random bytes in its salt. The context, such as the roster that the text belongs to, is authenticated with it.

use alloc::string::String;
use alloc::vec::Vec;

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce, Tag};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use crate::limits::{KEY_LEN, NONCE_LEN, TAG_LEN};
use crate::pair::PrivateKey;

const INFO: &[u8] = b"postern/1 kept text";

/// Each key encrypts one text, so the nonce need not differ.
const NONCE: [u8; NONCE_LEN] = [0; NONCE_LEN];

/// Encrypts a text for [`open_kept`]. `random` is used for nothing else.
#[must_use]
pub fn keep_text(gate: &PrivateKey, random: &[u8; KEY_LEN], context: &[u8], text: &str) -> Vec<u8> {
    let mut kept = Vec::with_capacity(text.len() + TAG_LEN + KEY_LEN);
    kept.extend_from_slice(text.as_bytes());
    let body = kept.as_mut_slice().into();
    match cipher(gate, random).encrypt_inout_detached(&Nonce::from(NONCE), context, body) {
        Ok(tag) => kept.extend_from_slice(&tag),
        Err(_) => {
            kept.zeroize();
            unreachable!("a text is shorter than 256 GiB");
        }
    }
    kept.extend_from_slice(random);
    kept
}

/// Opens in place what [`keep_text`] made with this key and context; `None` if it did not.
#[must_use]
pub fn open_kept(
    gate: &PrivateKey,
    context: &[u8],
    mut kept: Zeroizing<Vec<u8>>,
) -> Option<Zeroizing<String>> {
    let (rest, random) = kept.split_last_chunk::<KEY_LEN>()?;
    let (body, tag) = rest.split_last_chunk::<TAG_LEN>()?;
    let (length, tag) = (body.len(), Tag::from(*tag));
    let cipher = cipher(gate, random);
    kept.truncate(length);
    let body = kept.as_mut_slice().into();
    cipher
        .decrypt_inout_detached(&Nonce::from(NONCE), context, body, &tag)
        .ok()?;
    match String::from_utf8(core::mem::take(&mut *kept)) {
        Ok(text) => Some(Zeroizing::new(text)),
        Err(error) => {
            error.into_bytes().zeroize();
            None
        }
    }
}

fn cipher(gate: &PrivateKey, random: &[u8; KEY_LEN]) -> ChaCha20Poly1305 {
    let hkdf = Hkdf::<Sha256>::new(Some(random), gate.secret());
    let mut key = Zeroizing::new([0; KEY_LEN]);
    if hkdf.expand(INFO, key.as_mut_slice()).is_err() {
        unreachable!("HKDF-Expand gives 32 bytes");
    }
    ChaCha20Poly1305::new((&*key).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_key_and_context_open_it() {
        let [gate, other] = [1, 2].map(|byte| PrivateKey::from_bytes([byte; 32]));
        let kept = keep_text(&gate, &[3; 32], b"roster 1", "key");
        assert_eq!(kept.len(), 3 + TAG_LEN + KEY_LEN);
        let open = |key, context: &[u8], kept: &[u8]| {
            let text = open_kept(key, context, Zeroizing::new(kept.to_vec()));
            text.map(|text| text.as_str() == "key")
        };
        assert_eq!(open(&gate, b"roster 1", &kept), Some(true));
        assert_eq!(open(&other, b"roster 1", &kept), None);
        assert_eq!(open(&gate, b"roster 2", &kept), None);
        for at in 0..kept.len() {
            let mut changed = kept.clone();
            changed[at] ^= 1;
            assert_eq!(open(&gate, b"roster 1", &changed), None, "{at}");
            assert_eq!(open(&gate, b"roster 1", &kept[..at]), None);
        }
    }
}
