//! Keys of fwknop, from a passphrase or base64 to the base64 that a config of Postern has.

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use zeroize::Zeroizing;

pub(crate) const KEY_MAX: usize = 32;
pub(crate) const HMAC_KEY_MAX: usize = 128;

/// fwknop writes keys with padding and reads them without.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What is wrong with a key: why, and the cure.
pub(crate) type WrongKey = (&'static str, &'static str);

/// A key as base64, from a text that is a passphrase or base64, with at most so many bytes.
pub(crate) fn key(text: &str, is_base64: bool, most: usize) -> Result<Zeroizing<String>, WrongKey> {
    if text.contains("__CHANGEME__") {
        return Err((
            "the key is still the text that the package ships",
            "write the key that the client has",
        ));
    }
    let bytes = if is_base64 {
        let decoded = LENIENT.decode(text).map_err(|_| {
            (
                "the key is not base64",
                "copy it again, or write it without _BASE64 if it is a passphrase",
            )
        })?;
        Zeroizing::new(decoded)
    } else {
        Zeroizing::new(text.as_bytes().to_vec())
    };
    match bytes.len() {
        0 => Err(("the key is empty", "write the key that the client has")),
        length if length > most => Err((
            if most == KEY_MAX {
                "the key is longer than the 32 bytes that AES takes"
            } else {
                "the key is longer than 128 bytes"
            },
            "make a new key with fwknop --key-gen, for both sides",
        )),
        _ => Ok(encoded(&bytes)),
    }
}

/// In a buffer of the right size: one that grows leaves copies behind.
fn encoded(bytes: &[u8]) -> Zeroizing<String> {
    let length = base64::encoded_len(bytes.len(), true).unwrap_or_default();
    let mut text = Zeroizing::new(String::with_capacity(length));
    STANDARD.encode_string(bytes, &mut text);
    text
}

/// fwknop's name of a digest for the HMAC, as a config of Postern has it.
pub(crate) fn digest(text: &str) -> Option<&'static str> {
    const NAMES: [&str; 7] = [
        "md5", "sha1", "sha256", "sha384", "sha512", "sha3_256", "sha3_512",
    ];
    NAMES
        .into_iter()
        .find(|name| name.eq_ignore_ascii_case(text))
}

/// The mode of encryption: `None` for one that is not supported.
pub(crate) fn mode(text: &str) -> Option<&'static str> {
    ["cbc", "legacy"]
        .into_iter()
        .find(|name| name.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_base64() {
        for (text, is_base64, expected) in [
            ("fwknoptest", false, "Zndrbm9wdGVzdA=="),
            ("Zndrbm9wdGVzdA==", true, "Zndrbm9wdGVzdA=="),
            ("Zndrbm9wdGVzdA", true, "Zndrbm9wdGVzdA=="),
        ] {
            assert_eq!(*key(text, is_base64, KEY_MAX).unwrap(), expected);
        }
    }

    #[test]
    fn wrong_keys_are_refused_without_their_text() {
        let long = "k".repeat(33);
        for (text, is_base64, most) in [
            ("__CHANGEME__", false, KEY_MAX),
            ("__CHANGEME__", true, KEY_MAX),
            ("no base64!", true, KEY_MAX),
            ("", true, KEY_MAX),
            (long.as_str(), false, KEY_MAX),
            (&"k".repeat(129), false, HMAC_KEY_MAX),
        ] {
            let (what, cure) = key(text, is_base64, most).unwrap_err();
            let shown = text
                .get(..4)
                .is_some_and(|part| what.contains(part) || cure.contains(part));
            assert!(!shown, "{what} {cure}");
        }
    }

    #[test]
    fn modes_and_digests_have_one_spelling() {
        assert_eq!((mode("CBC"), mode("Legacy")), (Some("cbc"), Some("legacy")));
        assert_eq!((mode("ctr"), mode("asymmetric")), (None, None));
        assert_eq!(
            (digest("SHA3_256"), digest("invalid")),
            (Some("sha3_256"), None)
        );
    }
}
