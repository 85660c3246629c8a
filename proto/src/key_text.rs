//! Keys as text: 44 characters of standard base64 with padding, decoded strictly (README.md section 2).

use core::ops::Deref;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::{Zeroize, Zeroizing};

use crate::key_error::KeyError;
use crate::limits::{KEY_LEN, KEY_TEXT_LEN};
use crate::secret::secret;

/// A key in base64: 44 characters, wiped when dropped.
pub struct KeyText([u8; KEY_TEXT_LEN]);

impl KeyText {
    pub(crate) fn of(key: &[u8; KEY_LEN]) -> Self {
        let mut text = Self([0; KEY_TEXT_LEN]);
        // 32 bytes are always 44 characters, so the buffer is large enough.
        let written = STANDARD.encode_slice(key, &mut text.0);
        debug_assert_eq!(written, Ok(KEY_TEXT_LEN));
        text
    }
}

impl Deref for KeyText {
    type Target = str;

    fn deref(&self) -> &str {
        // Base64 is ASCII, so this never fails.
        core::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Drop for KeyText {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

secret!(KeyText);

/// Strict: standard alphabet, padding, no stray bits, no white space.
pub(crate) fn read_base64(text: &str) -> Result<Zeroizing<[u8; KEY_LEN]>, KeyError> {
    if text.len() != KEY_TEXT_LEN {
        return Err(KeyError::Length);
    }
    let mut key = Zeroizing::new([0; KEY_LEN]);
    // 44 characters without padding are 33 bytes, which do not fit.
    match STANDARD.decode_slice(text, key.as_mut_slice()) {
        Ok(KEY_LEN) => Ok(key),
        Ok(_) | Err(_) => Err(KeyError::Base64),
    }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::String;

    use super::*;

    const TEXT: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn a_key_reads_back_from_its_text() {
        let key = core::array::from_fn(|i| i as u8);
        assert_eq!(&*KeyText::of(&key), TEXT);
        assert_eq!(*read_base64(TEXT).unwrap(), key);
    }

    #[test]
    fn only_canonical_base64_of_32_bytes_is_a_key() {
        use KeyError::{Base64, Length};
        for (text, why) in [
            (String::new(), Length),
            (TEXT.replace('=', ""), Length),
            (format!("{TEXT}\n"), Length),
            (TEXT.replace("8=", "9="), Base64),
            (TEXT.replace('=', "A"), Base64),
            (TEXT.replace("8=", "=="), Base64),
            (TEXT.replace("AAE", "A-_"), Base64),
            (TEXT.replace("AAE", " AE"), Base64),
            (TEXT.replace("AAE", "=AE"), Base64),
            ("é".repeat(22), Base64),
        ] {
            assert_eq!(read_base64(&text).err(), Some(why), "{text}");
        }
    }
}
