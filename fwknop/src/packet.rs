//! A payload that can be a packet, before any key is tried (README.md, section 2).
//!
//! Costs no cryptography and allocates nothing.

use sha2::{Digest, Sha256};

use crate::base64::is_in_alphabet;
use crate::limits::{FIRST_BYTES, MARK_LEN, PAYLOAD_MAX, PAYLOAD_MIN};
use crate::reason::Reason;

/// Whether a payload has the length, the first byte and the alphabet of a packet.
#[must_use]
pub fn looks_like(payload: &[u8]) -> bool {
    Packet::parse(payload).is_ok()
}

/// A payload that looks like a packet, not yet authenticated.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a>(&'a [u8]);

impl<'a> Packet<'a> {
    /// Checks length, first byte and alphabet, in this order.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Reason> {
        if !(PAYLOAD_MIN..=PAYLOAD_MAX).contains(&payload.len()) {
            return Err(Reason::Length);
        }
        if !payload
            .first()
            .is_some_and(|first| FIRST_BYTES.contains(first))
        {
            return Err(Reason::FirstByte);
        }
        // Without an early end, several bytes are compared at once: most payloads are whole.
        let is_text = |text, byte: &u8| text & is_in_alphabet(*byte);
        if !payload.iter().fold(true, is_text) {
            return Err(Reason::Alphabet);
        }
        Ok(Self(payload))
    }

    /// The payload in a line of text: as `fwknop -B` saves it, or as `fwknop -T` prints it.
    pub fn parse_line(line: &'a [u8]) -> Result<Self, Reason> {
        let line = line.trim_ascii();
        let payload = line.strip_prefix(b"Final SPA Data:").unwrap_or(line);
        Self::parse(payload.trim_ascii_start())
    }

    /// The payload.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// The mark, which replay protection stores. Use it only after the packet is opened: only then the payload is the
    /// one text of its content.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark::of(self.0)
    }
}

/// The first half of the SHA-256 of a packet, or of an encrypted sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(pub [u8; MARK_LEN]);

impl Mark {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let [mark @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _]: [u8; 32] =
            Sha256::digest(bytes).into();
        Self(mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_140_to_1500_characters_can_be_a_packet() {
        for len in 0..=1600 {
            let like = looks_like(&[b'8'; 1600][..len]);
            assert_eq!(like, (140..=1500).contains(&len), "{len} bytes");
        }
    }

    #[test]
    fn four_first_bytes_can_be_a_packet() {
        let mut payload = [b'A'; 200];
        let like = |first: &u8| {
            payload[0] = *first;
            looks_like(&payload)
        };
        assert!((0..=255).filter(like).eq(*b"+/89"));
    }

    #[test]
    fn only_64_bytes_are_in_the_alphabet() {
        let mut payload = [b'8'; 200];
        let like = |byte: &u8| {
            payload[150] = *byte;
            looks_like(&payload)
        };
        assert_eq!((0..=255).filter(like).count(), 64);
    }

    #[test]
    fn a_payload_is_read_from_a_line() {
        let payload = [b'8'; 150];
        for (before, after) in [("", "\r\n"), ("", ""), (" Final SPA Data: ", "\n")] {
            let line = [before.as_bytes(), &payload, after.as_bytes()].concat();
            let packet = Packet::parse_line(&line).unwrap();
            assert_eq!(packet.as_bytes(), payload);
        }
        let two = [&payload[..], b"\n", &payload].concat();
        assert_eq!(Packet::parse_line(&two).err(), Some(Reason::Alphabet));
    }
}
