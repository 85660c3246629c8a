//! Canonical base64 without padding: a text has one value and a value one text (README.md, section 1).

use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

pub(crate) fn is_in_alphabet(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')
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
