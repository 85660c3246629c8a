//! The secret keys that client and gate share (README.md section 2).
//!
//! Keys are wiped when dropped, show no byte in Debug, cannot be cloned, and compare in constant time.

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::key_error::KeyError;
use crate::key_text::{KeyText, read_base64};
use crate::limits::KEY_LEN;
use crate::secret::secret;

macro_rules! secret_key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name([u8; KEY_LEN]);

        impl $name {
            /// Takes 32 random bytes. The caller wipes its own copy.
            #[must_use]
            pub fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
                Self(bytes)
            }

            /// Decodes 44 characters of canonical base64.
            pub fn from_base64(text: &str) -> Result<Self, KeyError> {
                read_base64(text).map(|bytes| Self(*bytes))
            }

            /// The key as text, wiped when dropped.
            #[must_use]
            pub fn to_base64(&self) -> KeyText {
                KeyText::of(&self.0)
            }

            pub(crate) fn bytes(&self) -> &[u8; KEY_LEN] {
                &self.0
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.ct_eq(&other.0).into()
            }
        }

        impl Eq for $name {}

        impl Drop for $name {
            fn drop(&mut self) {
                self.0.zeroize();
            }
        }

        secret!($name);
    };
}

secret_key! {
    /// A key of client and gate: 32 random bytes.
    SharedKey
}

secret_key! {
    /// An optional pre-shared key beside a key pair: 32 random bytes.
    PresharedKey
}
