//! Publications of the gates of one name, sealed with a key that only their engines hold.
//!
//! The sealed bytes: the version, the run, the number, the nonce, the text encrypted with ChaCha20-Poly1305, the tag. The first four are
//! authenticated as well. The gate name is the salt of every key, and each run has a key of its own. The nonce follows from the number
//! and the text, because a gate that is restored from a snapshot of its memory uses a number again, for another text.

use alloc::vec::Vec;

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce, Tag};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use crate::key::SharedKey;
use crate::limits::{KEY_LEN, NONCE_LEN, TAG_LEN};
use crate::name::GateName;
use crate::secret::secret;

const VERSION: u8 = 1;
const RUN_LEN: usize = 16;
const NUMBERED_LEN: usize = 1 + RUN_LEN + 8;
const HEAD_LEN: usize = NUMBERED_LEN + NONCE_LEN;

/// How much longer the sealed bytes are than the text.
pub const PUBLICATION_OVERHEAD: usize = HEAD_LEN + TAG_LEN;

const SEAL_INFO: &[u8] = b"postern/1 fleet seal";
const NONCE_INFO: &[u8] = b"postern/1 fleet nonce";
const NAME_INFO: &[u8] = b"postern/1 fleet name";

/// What all gates of one name derive from a fleet key. Wiped when dropped.
pub struct FleetKey([u8; KEY_LEN]);

/// A publication of one of these gates, opened.
#[derive(Debug)]
pub struct Publication {
    /// Random bytes of the process that sealed it.
    pub run: [u8; RUN_LEN],
    /// No other publication of the run has it.
    pub number: u64,
    /// What it says.
    pub text: Zeroizing<Vec<u8>>,
}

impl FleetKey {
    /// The key of the gates with this name.
    #[must_use]
    pub fn derive(gate: &GateName, key: &SharedKey) -> Self {
        let (mut extracted, _) =
            Hkdf::<Sha256>::extract(Some(gate.as_str().as_bytes()), key.bytes());
        let mut bytes = [0; KEY_LEN];
        for (to, from) in bytes.iter_mut().zip(&extracted) {
            *to = *from;
        }
        extracted.as_mut_slice().zeroize();
        Self(bytes)
    }

    /// Seals a text. In a run, a number stands for one text.
    #[must_use]
    pub fn seal(&self, run: &[u8; RUN_LEN], number: u64, text: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(text.len() + PUBLICATION_OVERHEAD);
        sealed.push(VERSION);
        sealed.extend_from_slice(run);
        sealed.extend_from_slice(&number.to_be_bytes());
        let mut nonce = [0; NONCE_LEN];
        self.expand(&[NONCE_INFO, &sealed, text], &mut nonce);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(text);
        let (head, body) = sealed.split_at_mut(HEAD_LEN);
        let nonce = Nonce::from(nonce);
        let tag = self
            .cipher(run)
            .encrypt_inout_detached(&nonce, head, body.into());
        match tag {
            Ok(tag) => sealed.extend_from_slice(&tag),
            Err(_) => unreachable!("a text is shorter than 256 GiB"),
        }
        sealed
    }

    /// Opens what [`Self::seal`] made with the same key; `None` if it did not.
    #[must_use]
    pub fn open(&self, sealed: &[u8]) -> Option<Publication> {
        let (head, rest) = sealed.split_at_checked(HEAD_LEN)?;
        let (version, fields) = head.split_first()?;
        let (run, fields) = fields.split_first_chunk::<RUN_LEN>()?;
        let (number, nonce) = fields.split_first_chunk()?;
        let number = u64::from_be_bytes(*number);
        let nonce = Nonce::from(*nonce.first_chunk::<NONCE_LEN>()?);
        let (body, tag) = rest.split_last_chunk::<TAG_LEN>()?;
        if *version != VERSION {
            return None;
        }
        let mut text = Zeroizing::new(body.to_vec());
        let body = text.as_mut_slice().into();
        let cipher = self.cipher(run);
        cipher
            .decrypt_inout_detached(&nonce, head, body, &Tag::from(*tag))
            .ok()?;
        Some(Publication {
            run: *run,
            number,
            text,
        })
    }

    /// A name for what is published, which tells nothing to those without the key.
    #[must_use]
    pub fn name(&self, of: &[u8]) -> [u8; RUN_LEN] {
        let mut name = [0; RUN_LEN];
        self.expand(&[NAME_INFO, of], &mut name);
        name
    }

    fn cipher(&self, run: &[u8; RUN_LEN]) -> ChaCha20Poly1305 {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        self.expand(&[SEAL_INFO, run], key.as_mut_slice());
        ChaCha20Poly1305::new((&*key).into())
    }

    fn expand(&self, info: &[&[u8]], out: &mut [u8]) {
        let expanded = Hkdf::<Sha256>::from_prk(&self.0)
            .is_ok_and(|hkdf| hkdf.expand_multi_info(info, out).is_ok());
        if !expanded {
            unreachable!("HKDF-Expand gives 32 bytes of a key of 32");
        }
    }
}

impl Drop for FleetKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

secret!(FleetKey);

#[cfg(test)]
mod tests {
    use super::*;

    fn key(gate: &str, byte: u8) -> FleetKey {
        let gate = GateName::new(gate).unwrap();
        FleetKey::derive(&gate, &SharedKey::from_bytes([byte; KEY_LEN]))
    }

    #[test]
    fn only_key_and_gate_name_open_it() {
        let own = key("gate", 1);
        let sealed = own.seal(&[7; RUN_LEN], 3, b"text");
        assert_eq!(sealed.len(), 4 + PUBLICATION_OVERHEAD);
        let opened = own.open(&sealed).unwrap();
        assert_eq!((opened.run, opened.number), ([7; RUN_LEN], 3));
        assert_eq!(opened.text.as_slice(), b"text");
        assert!(key("gate", 2).open(&sealed).is_none());
        assert!(key("other", 1).open(&sealed).is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(own.open(&changed).is_none(), "{at}");
            assert!(own.open(&sealed[..at]).is_none(), "{at}");
        }
        assert_ne!(own.name(b"a"), own.name(b"b"));
        assert_ne!(own.name(b"a"), key("gate", 2).name(b"a"));
    }

    #[test]
    fn number_used_again_repeats_no_nonce() {
        let own = key("gate", 1);
        let [first, second] = [b"first ", b"second"].map(|text| own.seal(&[7; RUN_LEN], 3, text));
        assert_eq!(first[..NUMBERED_LEN], second[..NUMBERED_LEN]);
        let nonce = NUMBERED_LEN..HEAD_LEN;
        assert_ne!(first[nonce.clone()], second[nonce]);
    }
}
