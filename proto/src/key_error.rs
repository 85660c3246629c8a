//! Why a key is invalid.

use core::fmt;

/// Why a key or its material is invalid. Never contains a byte of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyError {
    /// A gate name has 1 to 255 bytes.
    GateName,
    /// A key text has 44 characters.
    Length,
    /// A key is canonical base64 of 32 bytes, with padding.
    Base64,
    /// The agreement of two keys is all zero.
    ZeroSecret,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GateName => "a gate name must have 1 to 255 bytes",
            Self::Length => "a key must have exactly 44 characters of base64",
            Self::Base64 => "a key must be canonical base64 of 32 bytes, with padding",
            Self::ZeroSecret => {
                "the public key is a weak point: the shared secret would be all zero"
            }
        })
    }
}

impl core::error::Error for KeyError {}
