//! The packet, split into its fields (README.md section 4; section 6, step 1).
//!
//! Checks only the length, without cryptography, allocation or copy. No field is authenticated yet.

use core::fmt;

use crate::hint::Hint;
use crate::limits::{HINT_LEN, MAC_LEN, MARK_LEN, NONCE_LEN, PACKET_MAX, PACKET_MIN};

/// A datagram of a knock's length, not yet authenticated.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    hint: &'a [u8; HINT_LEN],
    nonce: &'a [u8; NONCE_LEN],
    mac: &'a [u8; MAC_LEN],
    sealed: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Splits a datagram's payload into fields. Section 6, step 1: a knock has 132 to 516 bytes.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, BadLength> {
        if !(PACKET_MIN..=PACKET_MAX).contains(&datagram.len()) {
            return Err(BadLength);
        }
        let (hint, rest) = datagram.split_first_chunk().ok_or(BadLength)?;
        let (nonce, rest) = rest.split_first_chunk().ok_or(BadLength)?;
        let (mac, sealed) = rest.split_first_chunk().ok_or(BadLength)?;
        Ok(Self {
            hint,
            nonce,
            mac,
            sealed,
        })
    }

    /// The hint, which finds the user.
    #[must_use]
    pub fn hint(&self) -> Hint {
        Hint(*self.hint)
    }

    /// The nonce, random for every knock.
    #[must_use]
    pub fn nonce(&self) -> &'a [u8; NONCE_LEN] {
        self.nonce
    }

    /// The mac over hint, nonce and sealed body.
    #[must_use]
    pub fn mac(&self) -> &'a [u8; MAC_LEN] {
        self.mac
    }

    /// The encrypted body and the AEAD's tag: 80 to 464 bytes.
    #[must_use]
    pub fn sealed(&self) -> &'a [u8] {
        self.sealed
    }

    /// The mark, which replay protection stores.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark::of(*self.mac)
    }
}

/// The first half of a packet's mac. Use it only after the mac is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(pub [u8; MARK_LEN]);

impl Mark {
    /// The first half of a mac, or of the hash that takes its place.
    #[must_use]
    pub fn of(bytes: [u8; MAC_LEN]) -> Self {
        let [mark @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = bytes;
        Self(mark)
    }
}

/// The datagram is too short or too long for a knock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BadLength;

impl fmt::Display for BadLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a knock has 132 to 516 bytes")
    }
}

impl core::error::Error for BadLength {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_132_to_516_bytes_can_be_a_knock() {
        for len in 0..=1500 {
            let parsed = Packet::parse(&[0; 1500][..len]).is_ok();
            assert_eq!(parsed, (132..=516).contains(&len), "{len} bytes");
        }
    }
}
