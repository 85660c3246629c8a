//! Where a profile's key is, and keys in TOML. Reads no key file.

use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;

use postern_proto::{PresharedKey, PrivateKey, PublicKey, SharedKey};
use serde::de::{Deserializer, Error, Visitor};

use super::fwknop::FwknopKey;

/// What a profile knocks with.
#[derive(Debug)]
pub enum KeySource {
    /// A key of Postern.
    Postern(PosternKey),
    /// The keys of a client of fwknop.
    Fwknop(FwknopKey),
}

/// A key of Postern: in the config, or in a file.
#[derive(Debug)]
pub enum PosternKey {
    /// A key shared with the gate.
    Shared(SharedKey),
    /// A shared key in a file.
    SharedFile(PathBuf),
    /// A key pair.
    Pair {
        /// The client's private key.
        own: PrivateSource,
        /// The gate's public key.
        gate: PublicKey,
        /// A pre-shared key to mix in.
        psk: Option<PresharedKey>,
    },
}

#[derive(Debug)]
pub enum PrivateSource {
    Key(PrivateKey),
    File(PathBuf),
}

pub(super) trait FromBase64: Sized {
    fn from_text(text: &str) -> Result<Self, String>;
}

macro_rules! from_base64 {
    ($($key:ty),*) => {
        $(impl FromBase64 for $key {
            fn from_text(text: &str) -> Result<Self, String> {
                Self::from_base64(text).map_err(|error| error.to_string())
            }
        })*
    };
}

from_base64!(
    SharedKey,
    PrivateKey,
    PublicKey,
    PresharedKey,
    postern_sequence::Key
);

/// For `deserialize_with`: leaves no copy of the text behind, and no error shows it.
pub(super) fn in_toml<'de, K: FromBase64, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<K>, D::Error> {
    let key = deserializer.deserialize_str(KeyVisitor(PhantomData))?;
    Ok(Some(key))
}

struct KeyVisitor<K>(PhantomData<K>);

impl<K: FromBase64> Visitor<'_> for KeyVisitor<K> {
    type Value = K;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key: 44 characters of base64 in quotes")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<K, E> {
        let cure = "copy it again, or make a new one with postern keygen";
        K::from_text(text).map_err(|error| E::custom(format!("{error}; {cure}")))
    }
}
