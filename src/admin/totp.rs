//! Makes secrets for one-time codes (RFC 6238 with SHA-1, 30 seconds, 6 digits).

use std::fmt::Write;

use data_encoding::BASE32_NOPAD;
use postern_proto::GateName;
use zeroize::Zeroizing;

use crate::adapters::random;
use crate::model::exit::{ExitError, SYSTEM};

/// RFC 4226 recommends the length of the hash.
const SECRET_LEN: usize = 20;

pub(super) struct Totp {
    pub(super) secret: Zeroizing<String>,
}

impl Totp {
    pub(super) fn make() -> Result<Self, ExitError> {
        let bytes = random::bytes::<SECRET_LEN>().map(Zeroizing::new);
        let bytes = bytes.map_err(|error| ExitError::new(SYSTEM, error))?;
        Ok(Self {
            secret: Zeroizing::new(BASE32_NOPAD.encode(bytes.as_slice())),
        })
    }

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
        let length = parts.iter().map(|part| part.len()).sum();
        let mut uri = Zeroizing::new(String::with_capacity(length));
        parts.iter().for_each(|part| uri.push_str(part));
        uri
    }
}

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
    fn uri_has_every_parameter() {
        let totp = Totp {
            secret: Zeroizing::new("MZXW6YTBOI".to_owned()),
        };
        let uri = totp.uri(&GateName::new("our gate").unwrap(), "alice@example.org");
        assert_eq!(
            uri.as_str(),
            "otpauth://totp/our%20gate:alice%40example.org?secret=MZXW6YTBOI&issuer=our%20gate&algorithm=SHA1&digits=6&period=30"
        );
    }
}
