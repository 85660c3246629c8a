//! Canonical base64 without padding: a text has one value and a value one text (README.md, section 1).

use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

pub(crate) fn is_in_alphabet(byte: u8) -> bool {
    // without branches
    let is_letter = (byte | 0x20).wrapping_sub(b'a') < 26;
    let is_slash_or_digit = byte.wrapping_sub(b'/') <= b'9' - b'/';
    is_letter | is_slash_or_digit | (byte == b'+')
}

/// Whether the last of so many characters can be the last one of any bytes: the bits that no byte needs are 0.
pub(crate) fn ends_canonically(text: &[u8]) -> bool {
    let value = match text.last() {
        Some(byte @ b'A'..=b'Z') => byte - b'A',
        Some(byte @ b'a'..=b'z') => byte - b'a' + 26,
        Some(byte @ b'0'..=b'9') => byte - b'0' + 52,
        Some(b'+') => 62,
        Some(_) => 63,
        None => 0,
    };
    match text.len() % 4 {
        2 => value % 16 == 0,
        3 => value % 4 == 0,
        _ => true,
    }
}

/// Decodes into the buffer. `None` if the text is not canonical or does not fit.
pub(crate) fn decode_into<'b>(text: &[u8], buffer: &'b mut [u8]) -> Option<&'b mut [u8]> {
    let len = STANDARD_NO_PAD.decode_slice(text, buffer).ok()?;
    buffer.get_mut(..len)
}

pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD_NO_PAD.decode(text).ok()
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    STANDARD_NO_PAD.encode(bytes)
}

/// Encodes into the buffer. `None` if the text does not fit.
pub(crate) fn encode_into<'b>(bytes: &[u8], buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let len = STANDARD_NO_PAD.encode_slice(bytes, buffer).ok()?;
    buffer.get(..len)
}

/// How many characters so many bytes have.
pub(crate) const fn encoded_len(bytes: usize) -> usize {
    (bytes * 4).div_ceil(3)
}

/// How many bytes so many characters have, if any number of bytes has so many.
pub(crate) const fn decoded_len(characters: usize) -> Option<usize> {
    let bytes = characters * 3 / 4;
    if encoded_len(bytes) == characters {
        Some(bytes)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_character_shows_spare_bits() {
        for before in ["A", "AA", "AAA"] {
            let canonical = (0..=255)
                .filter(|last| is_in_alphabet(*last))
                .filter(|last| {
                    let text = [before.as_bytes(), &[*last]].concat();
                    assert_eq!(ends_canonically(&text), decode(&text).is_some(), "{text:?}");
                    ends_canonically(&text)
                });
            assert_eq!(canonical.count(), 64 >> [4, 2, 0][before.len() - 1]);
        }
    }
}
