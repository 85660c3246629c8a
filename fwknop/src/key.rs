//! A user's keys: mac, then cipher (README.md, sections 2.1 to 2.3).
//!
//! Keys are wiped when dropped and show no byte in Debug. Nothing here allocates before a packet is authenticated.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::{Zeroize, Zeroizing};

use crate::base64::{decode_into, decoded_len, encode};
use crate::cipher::{Passphrase, Salt};
use crate::limits::{BLOCK_LEN, KEY_MAX, MAGIC, PREFIX, SALT_LEN, SEALED_MAX, TAG_MAX};
use crate::mac::{MacKey, MacKind};
use crate::packet::Packet;
use crate::plaintext;
use crate::reason::Reason;
use crate::request::{Opened, Request};

/// How a packet without a mac is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The key as it is.
    Cbc,
    /// A key of exactly 16 bytes: filled with the digit 0, or cut. For servers before 2.5.
    Legacy,
}

/// The keys of one user.
pub struct Key {
    passphrase: Passphrase,
    mac: Option<MacKey>,
}

impl Key {
    /// Keys of a user whose packets have a mac: 1 to 32 bytes for the cipher, 1 to 128 for the mac.
    pub fn new(key: &[u8], kind: MacKind, mac_key: &[u8]) -> Result<Self, KeyError> {
        Ok(Self {
            passphrase: passphrase(key)?,
            mac: Some(MacKey::new(kind, mac_key).ok_or(KeyError::MacLength)?),
        })
    }

    /// The key of a user whose packets have no mac. Such a packet is authenticated only by what it decrypts to.
    pub fn without_mac(key: &[u8], mode: Mode) -> Result<Self, KeyError> {
        let passphrase = passphrase(key)?;
        Ok(Self {
            passphrase: match mode {
                Mode::Cbc => passphrase,
                Mode::Legacy => passphrase.filled().cut(),
            },
            mac: None,
        })
    }

    /// Whether this user's packets have a mac.
    #[must_use]
    pub fn has_mac(&self) -> bool {
        self.mac.is_some()
    }

    /// Checks the packet's mac, in constant time. A packet of a length that this user's packets cannot have costs no
    /// hash. Without a mac only the length is checked.
    pub fn verify<'a>(&self, packet: &Packet<'a>) -> Result<Verified<'a>, Reason> {
        let payload = packet.as_bytes();
        let tag_len = self.mac.as_ref().map_or(0, |mac| mac.kind().tag_len());
        let (text, tag) = payload
            .len()
            .checked_sub(tag_len)
            .and_then(|at| payload.split_at_checked(at))
            .ok_or(Reason::Blocks)?;
        let sealed_len = decoded_len(PREFIX.len() + text.len()).ok_or(Reason::Blocks)?;
        if sealed_len % BLOCK_LEN != 0 || !(3 * BLOCK_LEN..=SEALED_MAX).contains(&sealed_len) {
            return Err(Reason::Blocks);
        }
        match &self.mac {
            Some(mac) if !mac.verify(text, tag) => Err(Reason::Mac),
            _ => Ok(Verified(text)),
        }
    }

    /// Decrypts and reads a packet whose mac this key has verified.
    pub fn open(&self, verified: &Verified<'_>) -> Result<Opened, Reason> {
        let mut buffer = Zeroizing::new([0; SEALED_MAX]);
        plaintext::read(self.decrypt(verified, &mut buffer)?)
    }

    /// The plaintext, in the buffer.
    fn decrypt<'b>(
        &self,
        Verified(text): &Verified<'_>,
        buffer: &'b mut [u8; SEALED_MAX],
    ) -> Result<&'b [u8], Reason> {
        let mut whole = [0; PREFIX.len() + SEALED_MAX * 4 / 3];
        let (prefix, rest) = whole.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX);
        rest.get_mut(..text.len())
            .ok_or(Reason::Blocks)?
            .copy_from_slice(text);
        let whole = whole
            .get(..PREFIX.len() + text.len())
            .ok_or(Reason::Blocks)?;

        let sealed = decode_into(whole, buffer).ok_or(Reason::SpareBits)?;
        let (header, data) = sealed
            .split_at_mut_checked(MAGIC.len() + SALT_LEN)
            .ok_or(Reason::Blocks)?;
        let salt: Salt = header.last_chunk().copied().ok_or(Reason::Blocks)?;
        let (first, second) = first_blocks(data).ok_or(Reason::Blocks)?;
        let derived = self.passphrase.derive(&salt);
        match derived.decrypt(data) {
            Some(plain) if plaintext::starts(plain) => Ok(plain),
            _ => Err(derived.explain(first, second)),
        }
    }

    /// Makes the packet of a request, with 16 fresh random bytes.
    ///
    /// # Errors
    /// The reason for which [`Key::open`] would refuse the packet.
    pub fn seal(&self, request: &Request, random: &[u8; 16]) -> Result<String, Reason> {
        let (number, salt) = random.split_at(SALT_LEN);
        let salt: Salt = salt.try_into().map_err(|_| Reason::Length)?;
        let number = number.try_into().map_err(|_| Reason::Length)?;
        let mut plain = plaintext::write(request, u64::from_be_bytes(number))?.into_bytes();
        let len = plain.len();
        plain.resize(len + BLOCK_LEN, 0);

        let mut sealed: Vec<u8> = [&MAGIC[..], &salt].concat();
        let derived = self.passphrase.derive(&salt);
        sealed.extend_from_slice(derived.encrypt(&mut plain, len).ok_or(Reason::Text)?);
        plain.zeroize();

        let mut wire = encode(&sealed);
        wire.drain(..PREFIX.len());
        if let Some(mac) = &self.mac {
            let mut buffer = [0; TAG_MAX];
            let tag = mac.tag(wire.as_bytes(), &mut buffer);
            wire.extend(tag.iter().copied().map(char::from));
        }
        Packet::parse(wire.as_bytes())?;
        Ok(wire)
    }
}

fn passphrase(key: &[u8]) -> Result<Passphrase, KeyError> {
    if key.len() > KEY_MAX {
        return Err(KeyError::Length);
    }
    Passphrase::new(key).ok_or(KeyError::Length)
}

fn first_blocks(data: &[u8]) -> Option<([u8; BLOCK_LEN], [u8; BLOCK_LEN])> {
    let (first, rest) = data.split_first_chunk()?;
    Some((*first, *rest.first_chunk()?))
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.mac {
            Some(mac) => write!(f, "Key(.., {mac:?})"),
            None => f.write_str("Key(..)"),
        }
    }
}

/// A packet without its mac, which is right.
#[derive(Clone, Copy, Debug)]
pub struct Verified<'a>(&'a [u8]);

/// Reads a key as fwknop's files have it: standard base64, with its padding or without.
pub fn key_from_base64(text: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    const EITHER: GeneralPurpose = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let key = EITHER.decode(text).map_err(|_| KeyError::Base64)?;
    Ok(Zeroizing::new(key))
}

/// Why a key is invalid. Never contains a byte of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyError {
    /// A key of the cipher has 1 to 32 bytes.
    Length,
    /// A key of the mac has 1 to 128 bytes.
    MacLength,
    /// The text is not base64.
    Base64,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "an encryption key must have 1 to 32 bytes",
            Self::MacLength => "an HMAC key must have 1 to 128 bytes",
            Self::Base64 => "a key must be base64 without stray bits",
        })
    }
}

impl core::error::Error for KeyError {}
