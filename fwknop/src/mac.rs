//! The mac over a packet, with each of seven hashes (README.md, section 2.3).

use core::fmt;

use hmac::digest::common::BlockSizeUser;
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use sha3::{Sha3_256, Sha3_512};
use subtle::ConstantTimeEq;

use crate::base64::{encode_into, encoded_len, ends_canonically};
use crate::limits::{MAC_KEY_MAX, PREFIX, TAG_MAX};
use crate::sha3_mac::Sha3Mac;

macro_rules! kinds {
    ($($kind:ident, $hmac:ident<$hash:ident>, $name:literal, $bytes:literal;)*) => {
        /// The hash of a mac.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum MacKind {
            $(#[doc = concat!("HMAC with ", $name, ".")] $kind,)*
        }

        impl MacKind {
            /// Every kind.
            pub const ALL: [Self; [$($bytes),*].len()] = [$(Self::$kind),*];

            /// The name, as fwknop's options and files have it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }

            /// How many characters the mac has in a packet.
            #[must_use]
            pub const fn tag_len(self) -> usize {
                match self {
                    $(Self::$kind => encoded_len($bytes),)*
                }
            }
        }

        /// A hash that has taken the key, so that a packet costs only its own blocks.
        enum Keyed {
            $($kind($hmac<$hash>),)*
        }

        impl MacKey {
            /// A key of 1 to 128 bytes, as RFC 2104 uses it.
            pub(crate) fn new(kind: MacKind, key: &[u8]) -> Option<Self> {
                if key.is_empty() || key.len() > MAC_KEY_MAX {
                    return None;
                }
                let keyed = match kind {
                    $(MacKind::$kind => Keyed::$kind($hmac::<$hash>::keyed(key)?),)*
                };
                Some(Self { kind, keyed })
            }

            /// Writes the mac over the prefix and the text as base64.
            pub(crate) fn tag<'b>(&self, text: &[u8], buffer: &'b mut [u8; TAG_MAX]) -> &'b [u8] {
                match &self.keyed {
                    $(Keyed::$kind(keyed) => {
                        let mut mac = keyed.clone();
                        mac.update(PREFIX);
                        mac.update(text);
                        encode_into(mac.bytes().as_ref(), buffer)
                    })*
                }
                .unwrap_or_default()
            }
        }
    };
}

kinds! {
    Md5, Hmac<Md5>, "md5", 16;
    Sha1, Hmac<Sha1>, "sha1", 20;
    Sha256, Hmac<Sha256>, "sha256", 32;
    Sha384, Hmac<Sha384>, "sha384", 48;
    Sha512, Hmac<Sha512>, "sha512", 64;
    Sha3_256, Sha3Mac<Sha3_256>, "sha3_256", 32;
    Sha3_512, Sha3Mac<Sha3_512>, "sha3_512", 64;
}

impl MacKind {
    /// The kind with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// What both forms of a mac have.
trait Keying: Sized {
    fn keyed(key: &[u8]) -> Option<Self>;
    fn bytes(self) -> impl AsRef<[u8]>;
}

impl<D: hmac::EagerHash> Keying for Hmac<D> {
    fn keyed(key: &[u8]) -> Option<Self> {
        Self::new_from_slice(key).ok()
    }

    fn bytes(self) -> impl AsRef<[u8]> {
        self.finalize().into_bytes()
    }
}

impl<D: sha3::Digest + BlockSizeUser> Keying for Sha3Mac<D> {
    fn keyed(key: &[u8]) -> Option<Self> {
        Some(Self::new(key))
    }

    fn bytes(self) -> impl AsRef<[u8]> {
        self.finalize()
    }
}

/// The key of a mac, and its hash.
pub(crate) struct MacKey {
    kind: MacKind,
    keyed: Keyed,
}

impl MacKey {
    pub(crate) fn kind(&self) -> MacKind {
        self.kind
    }

    /// Whether the tag is the text's mac. Takes constant time. Comparing the base64 makes each mac one text. A tag that is
    /// no mac's text costs no hash.
    pub(crate) fn verify(&self, text: &[u8], tag: &[u8]) -> bool {
        if !ends_canonically(tag) {
            return false;
        }
        let mut buffer = [0; TAG_MAX];
        let expected = self.tag(text, &mut buffer);
        !expected.is_empty() && bool::from(expected.ct_eq(tag))
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MacKey({}, ..)", self.kind.as_str())
    }
}
