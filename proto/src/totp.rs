//! Time-based one-time codes (RFC 6238 and RFC 4226), with SHA-1 and steps of 30 seconds like every authenticator.
//!
//! The gate remembers used codes (README.md section 6, step 9). The secret is wiped when dropped and shows no byte in Debug.

use alloc::boxed::Box;
use core::fmt;

use data_encoding::BASE32_NOPAD_NOCASE as BASE32;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::item::Code;
use crate::limits::{CODE_MAX, CODE_MIN, CODE_SECRET_MAX, CODE_SECRET_MIN, CODE_STEP_S};
use crate::secret::secret;

/// A user's secret for one-time codes, 16 to 64 bytes, and how many digits the codes have.
///
/// The bytes are on the heap, so that a moved key leaves no copy behind.
pub struct CodeKey {
    /// Padded with zeros to HMAC's block, as HMAC does with a short key (RFC 2104).
    secret: Box<[u8; CODE_SECRET_MAX]>,
    digits: u8,
}

/// The number of a span of 30 seconds since the Unix epoch, with one code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CodeStep(pub u64);

/// Why a secret for codes is invalid. Never contains a byte of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CodeKeyError {
    /// Not base32.
    Base32,
    /// Not 16 to 64 bytes.
    Length,
    /// Not 6 to 8 digits.
    Digits,
}

impl CodeStep {
    /// The step of a time in milliseconds since the Unix epoch.
    #[must_use]
    pub fn of(timestamp_ms: u64) -> Self {
        Self(timestamp_ms / (CODE_STEP_S * 1000))
    }
}

impl CodeKey {
    /// Decodes the secret as authenticators show it: base32 (RFC 4648) in either case, with or without padding.
    ///
    /// A code has 6 to 8 `digits`.
    pub fn from_base32(text: &str, digits: u8) -> Result<Self, CodeKeyError> {
        let unpadded = text.trim_end_matches('=');
        // A padded text has whole groups of eight characters, and no group of only padding.
        let padding = text.len() - unpadded.len();
        if padding > 0 && (padding > 6 || !text.len().is_multiple_of(8)) {
            return Err(CodeKeyError::Base32);
        }
        if unpadded.len() > CODE_SECRET_MAX * 8 / 5 + 1 {
            return Err(CodeKeyError::Length);
        }
        let length = BASE32
            .decode_len(unpadded.len())
            .map_err(|_| CodeKeyError::Base32)?;
        let mut bytes = Zeroizing::new([0; CODE_SECRET_MAX]);
        let secret = bytes.get_mut(..length).ok_or(CodeKeyError::Length)?;
        BASE32
            .decode_mut(unpadded.as_bytes(), secret)
            .map_err(|_| CodeKeyError::Base32)?;
        Self::from_bytes(secret, digits)
    }

    /// Takes the bytes of a secret. The caller wipes its own copy.
    pub fn from_bytes(secret: &[u8], digits: u8) -> Result<Self, CodeKeyError> {
        if !(CODE_SECRET_MIN..=CODE_SECRET_MAX).contains(&secret.len()) {
            return Err(CodeKeyError::Length);
        }
        if !(CODE_MIN..=CODE_MAX).contains(&usize::from(digits)) {
            return Err(CodeKeyError::Digits);
        }
        let mut key = Self {
            secret: Box::new([0; CODE_SECRET_MAX]),
            digits,
        };
        for (to, from) in key.secret.iter_mut().zip(secret) {
            *to = *from;
        }
        Ok(key)
    }

    /// The code of a step (RFC 4226, section 5.3).
    #[must_use]
    pub fn code(&self, step: CodeStep) -> Code {
        let mut mac = Hmac::<Sha1>::new((&*self.secret).into());
        mac.update(&step.0.to_be_bytes());
        let mut hash = mac.finalize().into_bytes();
        let offset = usize::from(hash.last().copied().unwrap_or_default() & 0xf);
        let mut word = hash
            .get(offset..)
            .and_then(|rest| rest.first_chunk::<4>())
            .copied()
            .unwrap_or_default();
        let code = Code::of_number(u32::from_be_bytes(word) & 0x7fff_ffff, self.digits);
        hash.zeroize();
        word.zeroize();
        code
    }

    /// Which of these steps have this code. Takes constant time.
    pub fn right_at<const N: usize>(&self, code: &Code, steps: [CodeStep; N]) -> [bool; N] {
        steps.map(|step| self.code(step).same(code).into())
    }
}

impl PartialEq for CodeKey {
    fn eq(&self, other: &Self) -> bool {
        self.digits == other.digits && bool::from(self.secret.ct_eq(&*other.secret))
    }
}

impl Eq for CodeKey {}

impl Drop for CodeKey {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

secret!(CodeKey);

impl fmt::Display for CodeKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Base32 => "a secret for codes must be base32: A to Z and 2 to 7",
            Self::Length => {
                "a secret for codes must have 16 to 64 bytes, 26 to 103 characters of base32"
            }
            Self::Digits => "a code must have 6 to 8 digits",
        })
    }
}

impl core::error::Error for CodeKeyError {}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::{String, ToString};

    use super::*;

    /// RFC 6238, appendix B: the secret of the rows for SHA-1.
    const RFC_SECRET: &[u8] = b"12345678901234567890";
    /// The same as RFC 4648 writes it.
    const RFC_BASE32: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

    fn rfc(digits: u8) -> CodeKey {
        CodeKey::from_bytes(RFC_SECRET, digits).unwrap()
    }

    #[test]
    fn codes_match_rfc_6238() {
        for (seconds, step, code) in [
            (59_u64, 0x1, "94287082"),
            (1_111_111_109, 0x23523EC, "07081804"),
            (1_111_111_111, 0x23523ED, "14050471"),
            (1_234_567_890, 0x273EF07, "89005924"),
            (2_000_000_000, 0x3F940AA, "69279037"),
            (20_000_000_000, 0x27BC86AA, "65353130"),
        ] {
            assert_eq!(CodeStep::of(seconds * 1000), CodeStep(step), "{seconds}");
            assert_eq!(rfc(8).code(CodeStep(step)).as_str(), code, "{seconds}");
            let [seven, six] = [7, 6].map(|digits| rfc(digits).code(CodeStep(step)));
            assert_eq!((seven.as_str(), six.as_str()), (&code[1..], &code[2..]));
        }
    }

    #[test]
    fn secrets_are_read_in_any_case_and_padding() {
        assert_eq!(CodeKey::from_base32(RFC_BASE32, 6), Ok(rfc(6)));
        let found = CodeKey::from_base32(&RFC_BASE32.to_lowercase(), 6);
        assert_eq!(found, Ok(rfc(6)));
        let sixteen = "GEZDGNBVGY3TQOJQGEZDGNBVGY";
        assert_eq!(
            CodeKey::from_base32(sixteen, 6),
            CodeKey::from_bytes(&RFC_SECRET[..16], 6)
        );
        assert_eq!(
            CodeKey::from_base32(&format!("{sixteen}======"), 6),
            CodeKey::from_base32(sixteen, 6)
        );
        assert_ne!(CodeKey::from_base32(sixteen, 6), Ok(rfc(6)));
        let longest = String::from_iter(core::iter::repeat_n('A', 102)) + "A";
        assert!(CodeKey::from_base32(&longest, 8).is_ok());
    }

    #[test]
    fn invalid_secrets_are_refused_and_not_shown() {
        let refused = |text: &str| CodeKey::from_base32(text, 6).unwrap_err();
        for text in [
            "GEZDGNBVGY3TQOJQGEZDGNBVG!",
            "GEZDGNBVGY3TQOJQGEZDGNBVG0",
            "GEZD GNBV GY3T QOJQ GEZD GNBV GY",
            "ÄEZDGNBVGY3TQOJQGEZDGNBV",
            // Stray bits, too little padding, only padding in a group, a character that adds no byte.
            "GEZDGNBVGY3TQOJQGEZDGNBVGZ",
            "GEZDGNBVGY3TQOJQGEZDGNBVGY=",
            "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ========",
            "GEZDGNBVGY3TQOJQGEZDGNBVGYA",
        ] {
            assert_eq!(refused(text), CodeKeyError::Base32, "{text}");
        }
        for text in ["", "GEZDGNBVGY3TQOJQ"] {
            assert_eq!(refused(text), CodeKeyError::Length);
        }
        for long in [104, 105, 100_000] {
            assert_eq!(refused(&"A".repeat(long)), CodeKeyError::Length);
        }
        for digits in [0, 5, 9, 255] {
            let expected = Err(CodeKeyError::Digits);
            assert_eq!(CodeKey::from_base32(RFC_BASE32, digits), expected);
        }
        assert!(!refused("GEZDGNBVGY3TQOJQ").to_string().contains("GEZD"));
        assert_eq!(format!("{:?}", rfc(6)), "CodeKey(..)");
    }

    #[test]
    fn a_code_is_right_at_its_own_steps_only() {
        let key = rfc(6);
        let steps = [CodeStep(0), CodeStep(1), CodeStep(2)];
        let expected = [false, true, false];
        assert_eq!(key.right_at(&Code::new("287082").unwrap(), steps), expected);
        let found = key.right_at(&Code::new("000000").unwrap(), steps);
        assert_eq!(found, [false; 3]);
        // The same digits in another number of them are another code.
        assert_eq!(
            key.right_at(&Code::new("94287082").unwrap(), steps),
            [false; 3]
        );
    }

    #[test]
    fn codes_match_rfc_4226() {
        let codes = [
            "755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583",
            "399871", "520489",
        ];
        for (step, code) in (0..).zip(codes) {
            assert_eq!(rfc(6).code(CodeStep(step)).as_str(), code, "{step}");
        }
    }
}
