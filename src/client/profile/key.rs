//! Where a profile's key comes from, and keys in TOML that go from the text into their own types without a stop.
//!
//! Must not read the files that it names.

use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;

use postern_proto::{KeyError, PresharedKey, PrivateKey, PublicKey, SharedKey};
use serde::de::{Deserializer, Error, Visitor};

/// A profile's key: here, or in a file.
#[derive(Debug)]
pub enum KeySource {
    /// A key shared with the gate.
    Shared(SharedKey),
    /// The same in a file.
    SharedFile(PathBuf),
    /// A key pair.
    Pair {
        /// The client's private key.
        own: PrivateSource,
        /// The gate's public key.
        gate: PublicKey,
        /// A pre-shared key mixed in.
        psk: Option<PresharedKey>,
    },
}

/// A private key: here, or in a file.
#[derive(Debug)]
pub enum PrivateSource {
    /// Here.
    Key(PrivateKey),
    /// In a file.
    File(PathBuf),
}

/// A key that is read from its text.
pub(super) trait FromText: Sized {
    fn from_text(text: &str) -> Result<Self, KeyError>;
}

macro_rules! from_text {
    ($($key:ty),*) => {
        $(impl FromText for $key {
            fn from_text(text: &str) -> Result<Self, KeyError> {
                Self::from_base64(text)
            }
        })*
    };
}

from_text!(SharedKey, PrivateKey, PublicKey, PresharedKey);

/// For `deserialize_with`: no copy of the text stays behind here, and no error shows it.
pub(super) fn in_toml<'de, K: FromText, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<K>, D::Error> {
    deserializer
        .deserialize_str(KeyVisitor(PhantomData))
        .map(Some)
}

struct KeyVisitor<K>(PhantomData<K>);

impl<K: FromText> Visitor<'_> for KeyVisitor<K> {
    type Value = K;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key: 44 characters of base64 in quotes")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<K, E> {
        K::from_text(text).map_err(|error| {
            E::custom(format!(
                "{error}; copy it again, or make a new one with postern keygen"
            ))
        })
    }
}
