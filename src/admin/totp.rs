//! Secrets for one-time codes (RFC 6238 with SHA-1, 30 seconds, 6 digits): made here, checked by the gate.

use std::fmt::Write;

use postern_proto::GateName;
use zeroize::Zeroizing;

use crate::adapters::random;
use crate::model::exit::{ExitError, SYSTEM};

/// What RFC 4226 recommends: as long as the hash.
const SECRET_LEN: usize = 20;

const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// A secret for one-time codes.
pub(super) struct Totp {
    /// In base32, without padding.
    pub(super) secret: Zeroizing<String>,
}

impl Totp {
    /// A new one.
    ///
    /// # Errors
    /// Where the system has no random bytes.
    pub(super) fn make() -> Result<Self, ExitError> {
        let bytes: Zeroizing<[u8; SECRET_LEN]> = random::bytes()
            .map(Zeroizing::new)
            .map_err(|error| ExitError::new(SYSTEM, error))?;
        Ok(Self {
            secret: base32(bytes.as_slice()),
        })
    }

    /// As authenticator programs take it, mostly from a QR code.
    pub(super) fn uri(&self, gate: &GateName, user: &str) -> Zeroizing<String> {
        let (gate, user) = (escaped(gate.as_str()), escaped(user));
        let parts = [
            "otpauth://totp/",
            &gate,
            ":",
            &user,
            "?secret=",
            &self.secret,
            "&issuer=",
            &gate,
            "&algorithm=SHA1&digits=6&period=30",
        ];
        let mut uri = Zeroizing::new(String::with_capacity(
            parts.iter().map(|part| part.len()).sum(),
        ));
        parts.iter().for_each(|part| uri.push_str(part));
        uri
    }
}

/// RFC 4648, section 6, without padding.
fn base32(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(
        bytes.len().saturating_mul(8).div_ceil(5),
    ));
    for group in bytes.chunks(5) {
        let bits = group
            .iter()
            .chain(&[0; 5])
            .take(5)
            .fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        let letters = group.len().saturating_mul(8).div_ceil(5);
        for at in 0..letters {
            let index = usize::try_from(bits >> (35 - 5 * at) & 31).unwrap_or_default();
            text.extend(LETTERS.get(index).map(|letter| char::from(*letter)));
        }
    }
    text
}

/// As a part of a URI, RFC 3986.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_is_that_of_rfc_4648_without_padding() {
        for (bytes, text) in [
            ("", ""),
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foob", "MZXW6YQ"),
            ("fooba", "MZXW6YTB"),
            ("foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(base32(bytes.as_bytes()).as_str(), text);
        }
    }

    #[test]
    fn the_uri_names_gate_and_user_and_every_parameter() {
        let totp = Totp {
            secret: Zeroizing::new("MZXW6YTBOI".to_owned()),
        };
        let uri = totp.uri(&GateName::new("our gate").unwrap(), "alice@example.org");
        assert_eq!(
            uri.as_str(),
            "otpauth://totp/our%20gate:alice%40example.org?secret=MZXW6YTBOI&issuer=our%20gate&algorithm=SHA1&digits=6&period=30"
        );
    }

    #[test]
    fn each_secret_is_new_and_has_160_bits() {
        let (one, other) = (Totp::make().unwrap(), Totp::make().unwrap());
        assert!(one.secret.len() == 32 && one.secret != other.secret);
    }
}
