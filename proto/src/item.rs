//! The items of a request: services, named services, codes, and kinds of later versions (README.md section 5).
//!
//! Rules for the list as a whole are in `request.rs`.

use alloc::vec::Vec;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroize;

use crate::limits::{CODE_MAX, CODE_MIN};
use crate::malformed::Malformed;
use crate::name::{ServiceName, text};
use crate::secret::secret;
use crate::service::Service;

/// One item of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// Kind 1: a protocol and its ports.
    Service(Service),
    /// Kind 2: a service that the gate's config defines.
    Name(ServiceName),
    /// Kind 3: a one-time code.
    Code(Code),
    /// Kinds 128 to 255: unknown to this version, which skips it.
    Skipped {
        /// 128 to 255.
        kind: u8,
        /// Up to 255 bytes.
        value: Vec<u8>,
    },
}

/// A time-based one-time password (RFC 6238): 6 to 8 ASCII digits. Wiped when dropped, compared in constant time.
#[derive(Clone)]
pub struct Code {
    digits: [u8; CODE_MAX],
    len: u8,
}

impl Code {
    /// Takes the digits. Errors: [`Malformed::CodeLength`], [`Malformed::CodeDigits`].
    pub fn new(digits: &str) -> Result<Self, Malformed> {
        Self::from_bytes(digits.as_bytes())
    }

    pub(crate) fn from_bytes(digits: &[u8]) -> Result<Self, Malformed> {
        if !(CODE_MIN..=CODE_MAX).contains(&digits.len()) {
            return Err(Malformed::CodeLength);
        }
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(Malformed::CodeDigits);
        }
        let mut code = Self {
            digits: [0; CODE_MAX],
            len: 0,
        };
        for (to, from) in code.digits.iter_mut().zip(digits) {
            *to = *from;
            code.len += 1;
        }
        Ok(code)
    }

    /// The last `count` decimal digits of a number. `count` is limited to 6 to 8.
    pub(crate) fn of_number(mut number: u32, count: u8) -> Self {
        let len = usize::from(count).clamp(CODE_MIN, CODE_MAX);
        let mut code = Self {
            digits: [0; CODE_MAX],
            len: 0,
        };
        for digit in code.digits.iter_mut().take(len).rev() {
            // Less than 10, so it fits.
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
            code.len += 1;
        }
        code
    }

    pub(crate) fn same(&self, other: &Self) -> Choice {
        // The bytes after the digits are zeros, not digits: equal arrays have equal lengths.
        self.digits.ct_eq(&other.digits)
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        text(&self.digits, self.len)
    }
}

impl PartialEq for Code {
    fn eq(&self, other: &Self) -> bool {
        self.same(other).into()
    }
}

impl Eq for Code {}

impl Drop for Code {
    fn drop(&mut self) {
        self.digits.zeroize();
    }
}

secret!(Code);

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    #[test]
    fn a_code_has_6_to_8_digits_and_hides_them() {
        for digits in ["000000", "1234567", "98765432"] {
            assert_eq!(Code::new(digits).unwrap().as_str(), digits);
        }
        for digits in ["", "12345", "123456789"] {
            assert_eq!(Code::new(digits), Err(Malformed::CodeLength));
        }
        for digits in ["12345a", "12345 ", "+12345", "٣٣٣"] {
            assert_eq!(Code::new(digits), Err(Malformed::CodeDigits));
        }
        assert_ne!(Code::new("123456"), Code::new("1234560"));
        assert_eq!(format!("{:?}", Code::new("123456")), "Ok(Code(..))");
    }
}
