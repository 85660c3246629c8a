//! `fwknop = {…}` of a profile: the keys of a client of fwknop, as the gate's config has them for a user. Reads no key file.
//!
//! Every text may be a passphrase in the wrong place, so no error shows one.

use std::fmt;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use postern_fwknop::limits::{KEY_MAX, MAC_KEY_MAX};
use postern_fwknop::{
    KeyError, MacKind, Mode, Target, is_target_host, is_user_name, key_from_base64,
};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use zeroize::Zeroizing;

use crate::model::endpoint::Endpoint;

/// What a client of fwknop has.
#[derive(Debug)]
pub struct FwknopKey {
    pub(crate) key: FwknopSecret,
    pub(crate) hmac: Option<(MacKind, FwknopSecret)>,
    pub(crate) mode: Option<Mode>,
    /// `None` for the name of the system's user.
    pub(crate) username: Option<String>,
    pub(crate) nat: Option<FwknopNat>,
}

/// A key as it is, or in a file.
pub(crate) enum FwknopSecret {
    Bytes(Zeroizing<Vec<u8>>),
    File(PathBuf),
}

/// Where the ports of a knock lead.
#[derive(Debug, Clone)]
pub(crate) enum FwknopNat {
    Access(Target),
    Local(Target),
}

#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table; write { key = \"…\", hmac_key = \"…\" }"
)]
pub(super) struct RawFwknop {
    #[serde(default, deserialize_with = "base64")]
    key: Option<FwknopSecret>,
    key_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "passphrase")]
    passphrase: Option<FwknopSecret>,
    #[serde(default, deserialize_with = "base64")]
    hmac_key: Option<FwknopSecret>,
    hmac_key_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "passphrase")]
    hmac_passphrase: Option<FwknopSecret>,
    #[serde(default, deserialize_with = "hash")]
    hmac: Option<MacKind>,
    #[serde(default, deserialize_with = "mode")]
    mode: Option<Mode>,
    username: Option<String>,
    #[serde(default, deserialize_with = "target")]
    nat_access: Option<Target>,
    #[serde(default, deserialize_with = "target")]
    nat_local: Option<Target>,
    #[serde(default)]
    insecure_without_hmac: bool,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum FwknopError {
    #[error("fwknop has both {0} and {1}; keep one")]
    Both(&'static str, &'static str),
    #[error(
        "fwknop has no key; add key = \"…\", KEY_BASE64 of .fwknoprc, or key_file or passphrase"
    )]
    NoKey,
    #[error(
        "fwknop has no HMAC; add hmac_key = \"…\", HMAC_KEY_BASE64 of .fwknoprc, or insecure_without_hmac = true"
    )]
    NoHmac,
    #[error(
        "both keys of fwknop are the same; make two keys with fwknop --key-gen, for both sides"
    )]
    SameKeys,
    #[error("packets in the mode legacy never have an HMAC; remove mode, or the key of the HMAC")]
    LegacyHmac,
    #[error("hmac requires hmac_key; add HMAC_KEY_BASE64 of .fwknoprc, or remove hmac")]
    LoneHmac,
    #[error("{0}; make a new key with fwknop --key-gen, for both sides")]
    Key(KeyError),
    #[error("no packet can state this username; write 1 to 48 letters, digits and the like")]
    Username,
}

impl RawFwknop {
    pub(super) fn check(self, folder: &Path) -> Result<FwknopKey, FwknopError> {
        let key = one(
            [("key", self.key), ("passphrase", self.passphrase)],
            ("key_file", self.key_file),
            folder,
        )?;
        has_length(key.as_ref(), KEY_MAX, KeyError::Length)?;
        let hmac_key = one(
            [
                ("hmac_key", self.hmac_key),
                ("hmac_passphrase", self.hmac_passphrase),
            ],
            ("hmac_key_file", self.hmac_key_file),
            folder,
        )?;
        has_length(hmac_key.as_ref(), MAC_KEY_MAX, KeyError::MacLength)?;
        if let (Some(FwknopSecret::Bytes(key)), Some(FwknopSecret::Bytes(hmac_key))) =
            (&key, &hmac_key)
            && key == hmac_key
        {
            return Err(FwknopError::SameKeys);
        }
        let hmac = match (hmac_key, self.mode, self.insecure_without_hmac) {
            (Some(_), Some(Mode::Legacy), _) => return Err(FwknopError::LegacyHmac),
            (Some(_), _, true) => {
                return Err(FwknopError::Both("hmac_key", "insecure_without_hmac"));
            }
            (None, ..) if self.hmac.is_some() => return Err(FwknopError::LoneHmac),
            (None, _, false) => return Err(FwknopError::NoHmac),
            (key, ..) => key.map(|key| (self.hmac.unwrap_or(MacKind::Sha256), key)),
        };
        if self
            .username
            .as_ref()
            .is_some_and(|name| !is_user_name(name))
        {
            return Err(FwknopError::Username);
        }
        let nat = match (self.nat_access, self.nat_local) {
            (Some(_), Some(_)) => return Err(FwknopError::Both("nat_access", "nat_local")),
            (access, local) => access
                .map(FwknopNat::Access)
                .or(local.map(FwknopNat::Local)),
        };
        Ok(FwknopKey {
            key: key.ok_or(FwknopError::NoKey)?,
            hmac,
            mode: self.mode,
            username: self.username,
            nat,
        })
    }
}

fn has_length(
    secret: Option<&FwknopSecret>,
    most: usize,
    error: KeyError,
) -> Result<(), FwknopError> {
    match secret {
        Some(FwknopSecret::Bytes(bytes)) if !(1..=most).contains(&bytes.len()) => {
            Err(FwknopError::Key(error))
        }
        _ => Ok(()),
    }
}

/// The only one of three forms.
fn one(
    [first, second]: [(&'static str, Option<FwknopSecret>); 2],
    (file, path): (&'static str, Option<PathBuf>),
    folder: &Path,
) -> Result<Option<FwknopSecret>, FwknopError> {
    let path = path.map(|path| FwknopSecret::File(folder.join(path)));
    let mut given = [first, (file, path), second]
        .into_iter()
        .filter_map(|(name, secret)| Some((name, secret?)));
    match (given.next(), given.next()) {
        (Some((one, _)), Some((other, _))) => Err(FwknopError::Both(one, other)),
        (one, _) => Ok(one.map(|(_, secret)| secret)),
    }
}

fn base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<FwknopSecret>, D::Error> {
    read(deserializer, "a key in base64", |text| {
        let cure = "copy it from .fwknoprc; plain text is a passphrase";
        let bytes = key_from_base64(text).map_err(|error| format!("{error}; {cure}"))?;
        Ok(FwknopSecret::Bytes(bytes))
    })
}

fn passphrase<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<FwknopSecret>, D::Error> {
    read(deserializer, "a passphrase", |text| {
        Ok(FwknopSecret::Bytes(Zeroizing::new(
            text.as_bytes().to_vec(),
        )))
    })
}

fn hash<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<MacKind>, D::Error> {
    read(deserializer, "a hash", |text| {
        let names = MacKind::ALL.map(MacKind::as_str).join(", ");
        MacKind::from_name(text)
            .ok_or_else(|| format!("this is not a value of hmac; write one of {names}"))
    })
}

fn mode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Mode>, D::Error> {
    read(deserializer, "a mode", |text| match text {
        "cbc" => Ok(Mode::Cbc),
        "legacy" => Ok(Mode::Legacy),
        _ => Err("this is not a value of mode; write cbc or legacy".to_owned()),
    })
}

/// A host and a port, as the packet states them.
fn target<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Target>, D::Error> {
    read(deserializer, "a host and a port", |text| {
        let end = Endpoint::with_default(text, 0).ok();
        let target = end.and_then(|end| {
            Some(Target {
                host: end.host.as_str().to_owned(),
                port: NonZeroU16::new(end.port)?,
            })
        });
        target
            .filter(|target| !target.host.contains(':') && is_target_host(&target.host))
            .ok_or_else(|| {
                "this is not a place that a packet can name; write HOST:PORT, a name or an IPv4 address"
                    .to_owned()
            })
    })
}

fn read<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    wanted: &'static str,
    convert: fn(&str) -> Result<T, String>,
) -> Result<Option<T>, D::Error> {
    let visitor = TextVisitor { wanted, convert };
    deserializer.deserialize_str(visitor).map(Some)
}

/// Leaves no copy of the text behind, and shows no value of another type.
struct TextVisitor<T> {
    wanted: &'static str,
    convert: fn(&str) -> Result<T, String>,
}

impl<T> TextVisitor<T> {
    fn no_text<E: Error>(&self) -> Result<T, E> {
        let wanted = self.wanted;
        Err(E::custom(format!(
            "this is not {wanted}; write it in quotes"
        )))
    }
}

impl<T> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in quotes", self.wanted)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.convert)(text).map_err(E::custom)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<T, E> {
        self.no_text()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<T, E> {
        self.no_text()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<T, E> {
        self.no_text()
    }
}

impl fmt::Debug for FwknopSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(_) => f.write_str("Bytes(..)"),
            Self::File(path) => write!(f, "File({path:?})"),
        }
    }
}
