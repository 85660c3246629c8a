//! Seals a request into a packet, and opens one: mac, then AEAD (README.md section 6, steps 3 and 4).
//!
//! Allocates nothing. Nonce and body length are the caller's random numbers.

use core::fmt;

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce, Tag};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroize;

use crate::derive::UserKeys;
use crate::encode::EncodeError;
use crate::hint::{Step, hmac};
use crate::limits::{BODY_MAX, HEAD_LEN, HINT_LEN, MAC_LEN, NONCE_LEN, PACKET_MAX, TAG_LEN};
use crate::packet::Packet;
use crate::request::Request;
use crate::secret::secret;

/// Makes the packet of a request.
///
/// `nonce` is 12 fresh random bytes, never used twice with the same keys. `body_len` is 64 to 448 and at least
/// [`Request::encoded_len`], chosen at random so that the packet's length reveals nothing.
pub fn seal(
    keys: &UserKeys,
    request: &Request,
    nonce: [u8; NONCE_LEN],
    body_len: usize,
) -> Result<Sealed, SealError> {
    let hint = keys.hint_key().hint(Step::of(request.timestamp_ms)).0;
    let mut packet = Sealed {
        bytes: [0; PACKET_MAX],
        len: HEAD_LEN + body_len.min(BODY_MAX) + TAG_LEN,
    };
    let (head, rest) = packet.bytes.split_at_mut(HEAD_LEN);
    let (body, rest) = rest
        .split_at_mut_checked(body_len)
        .ok_or(EncodeError::BodyLength)?;
    let (tag, _) = rest
        .split_at_mut_checked(TAG_LEN)
        .ok_or(EncodeError::BodyLength)?;

    request.encode(body)?;
    let computed = ChaCha20Poly1305::new(keys.seal_key().into()).encrypt_inout_detached(
        &Nonce::from(nonce),
        &hint,
        (&mut *body).into(),
    );
    let Ok(computed) = computed else {
        body.zeroize();
        return Err(SealError::Cipher);
    };
    tag.copy_from_slice(&computed);

    let mac: [u8; MAC_LEN] = keys
        .mac_over(&hint, &nonce, &[body, tag])
        .finalize()
        .into_bytes()
        .into();
    for (to, from) in head.iter_mut().zip(hint.iter().chain(&nonce).chain(&mac)) {
        *to = *from;
    }
    Ok(packet)
}

impl UserKeys {
    /// Section 6, step 3: whether this user's key made the packet's mac. Takes constant time.
    #[must_use]
    pub fn verify(&self, packet: &Packet<'_>) -> bool {
        self.mac_over(&packet.hint().0, packet.nonce(), &[packet.sealed()])
            .verify(packet.mac().into())
            .is_ok()
    }

    /// Section 6, step 4: decrypts the body into `buffer`. Call it only after [`UserKeys::verify`].
    pub fn open<'b>(
        &self,
        packet: &Packet<'_>,
        buffer: &'b mut OpenBuffer,
    ) -> Result<&'b [u8], BadSeal> {
        let (sealed, tag) = packet
            .sealed()
            .split_last_chunk::<TAG_LEN>()
            .ok_or(BadSeal)?;
        let body = buffer.0.get_mut(..sealed.len()).ok_or(BadSeal)?;
        body.copy_from_slice(sealed);
        let opened = ChaCha20Poly1305::new(self.seal_key().into()).decrypt_inout_detached(
            &Nonce::from(*packet.nonce()),
            &packet.hint().0,
            (&mut *body).into(),
            &Tag::from(*tag),
        );
        match opened {
            Ok(()) => Ok(body),
            Err(_) => {
                body.zeroize();
                Err(BadSeal)
            }
        }
    }

    fn mac_over(
        &self,
        hint: &[u8; HINT_LEN],
        nonce: &[u8; NONCE_LEN],
        sealed: &[&[u8]],
    ) -> Hmac<Sha256> {
        let mut mac = hmac(self.mac_key());
        mac.update(hint);
        mac.update(nonce);
        for part in sealed {
            mac.update(part);
        }
        mac
    }
}

/// A finished packet.
#[derive(Clone)]
pub struct Sealed {
    bytes: [u8; PACKET_MAX],
    len: usize,
}

impl Sealed {
    /// The datagram's payload: 132 to 516 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }
}

impl AsRef<[u8]> for Sealed {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.len)
    }
}

/// A reusable buffer for one opened body. Wiped when dropped.
pub struct OpenBuffer([u8; BODY_MAX]);

impl OpenBuffer {
    /// An empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self([0; BODY_MAX])
    }
}

impl Default for OpenBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for OpenBuffer {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

secret!(OpenBuffer);

/// The AEAD did not accept the sealed body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BadSeal;

impl fmt::Display for BadSeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the sealed body does not open")
    }
}

impl core::error::Error for BadSeal {}

/// Why a request could not be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SealError {
    /// The request cannot be written into a body of this length.
    Encode(EncodeError),
    /// The cipher failed, which it never does for so short a message.
    Cipher,
}

impl From<EncodeError> for SealError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encode(error) => error.fmt(f),
            Self::Cipher => f.write_str("the cipher refused the request"),
        }
    }
}

impl core::error::Error for SealError {}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;
    use crate::derive::KeyMaterial;
    use crate::key::SharedKey;
    use crate::malformed::Malformed;
    use crate::name::GateName;
    use crate::request::{Action, Allow};

    fn keys(byte: u8) -> UserKeys {
        let material = KeyMaterial::shared(&SharedKey::from_bytes([byte; 32]));
        UserKeys::derive(&GateName::new("gate.example.org").unwrap(), &material)
    }

    fn close() -> Request {
        Request {
            action: Action::Close,
            allow: Allow::Source { prefix: 128 },
            timestamp_ms: 1_760_000_000_000,
            duration_s: 0,
            target: None,
            items: vec![],
        }
    }

    #[test]
    fn another_users_key_neither_verifies_nor_opens() {
        let sealed = seal(&keys(1), &close(), [9; 12], 64).unwrap();
        let packet = Packet::parse(sealed.as_bytes()).unwrap();
        assert!(!keys(2).verify(&packet));
        let mut buffer = OpenBuffer::new();
        assert_eq!(keys(2).open(&packet, &mut buffer), Err(BadSeal));
        assert_eq!(
            buffer.0, [0; BODY_MAX],
            "what did not open is not left behind"
        );
    }

    #[test]
    fn invalid_requests_are_not_sealed() {
        let refused = |request: &Request, len| seal(&keys(1), request, [9; 12], len).err();
        for len in [0, 63, 449, 516, usize::MAX] {
            let expected = Some(SealError::Encode(EncodeError::BodyLength));
            assert_eq!(refused(&close(), len), expected, "{len}");
        }
        let open = Request {
            action: Action::Open,
            ..close()
        };
        let rule = EncodeError::Malformed(Malformed::NoService);
        assert_eq!(refused(&open, 64), Some(SealError::Encode(rule)));
    }
}
