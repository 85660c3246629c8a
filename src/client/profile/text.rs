//! The keys of a profile in TOML, and the rules between them.
//!
//! A key that is not listed here is refused.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postern_proto::{GateName, PresharedKey, PrivateKey, PublicKey, SharedKey};
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor, value::SeqAccessDeserializer};
use toml::Spanned;

use super::code::{self, Ask};
use super::key::{KeySource, PrivateSource, in_toml};
use super::{
    AllowSetting, Endpoint, Host, Profile, ProfileError, Profiles, TimeOffset, address_of,
    without_secrets,
};
use crate::model::service::Wanted;
use crate::model::time::parse_duration;

#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a profile; every key stands below a profile's name, such as [home]"
)]
struct Written {
    gate: Spanned<String>,
    address: Option<Addresses>,
    #[serde(default, deserialize_with = "in_toml")]
    key: Option<SharedKey>,
    key_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "in_toml")]
    private_key: Option<PrivateKey>,
    private_key_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "in_toml")]
    gate_public_key: Option<PublicKey>,
    #[serde(default, deserialize_with = "in_toml")]
    psk: Option<PresharedKey>,
    #[serde(default)]
    services: Vec<Wanted>,
    allow: Option<AllowSetting>,
    duration: Option<Length>,
    target: Option<Host>,
    code: Option<Ask>,
    code_command: Option<Vec<String>>,
    #[serde(default)]
    time_offset: TimeOffset,
}

type Wrong = (Range<usize>, String);

pub(super) fn parse(text: &str, path: &Path) -> Result<Profiles, ProfileError> {
    let written: BTreeMap<String, Spanned<Written>> =
        toml::from_str(text).map_err(|error| ProfileError::from_toml(path, text, &error))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut profiles = Profiles::new();
    for (name, profile) in written {
        let span = profile.span();
        let profile = complete(profile.into_inner(), span, folder).map_err(|(span, what)| {
            ProfileError::new(
                path,
                text,
                Some(span),
                format!("profile {name}: {}", without_secrets(&what)),
            )
        })?;
        profiles.insert(name, profile);
    }
    Ok(profiles)
}

fn complete(mut written: Written, span: Range<usize>, folder: &Path) -> Result<Profile, Wrong> {
    let key = key_source(&mut written, folder).map_err(|what| (span.clone(), what.to_owned()))?;
    let code = code::source(written.code.take(), written.code_command.take())
        .map_err(|what| (span.clone(), what.to_owned()))?;
    let gate_span = written.gate.span();
    let gate = GateName::new(written.gate.get_ref()).map_err(|error| {
        (
            gate_span.clone(),
            format!("{error}; write the gate's own name"),
        )
    })?;
    let addresses = match written.address {
        Some(Addresses(addresses)) if addresses.is_empty() => {
            return Err((
                span,
                "address is an empty list; name one, or leave it out".to_owned(),
            ));
        }
        Some(Addresses(addresses)) => addresses,
        None => {
            let advice = || {
                (
                    gate_span,
                    "the gate's name is not a host; add address = \"HOST:PORT\"".to_owned(),
                )
            };
            vec![address_of(&gate).map_err(|_| advice())?]
        }
    };
    Ok(Profile {
        gate,
        addresses,
        key,
        services: written.services,
        allow: written.allow.unwrap_or(AllowSetting::Auto),
        duration: written.duration.map(|Length(length)| length),
        target: written.target,
        code,
        time_offset: written.time_offset,
    })
}

/// One kind of key, or none: then it comes with the command.
fn key_source(written: &mut Written, folder: &Path) -> Result<Option<KeySource>, &'static str> {
    let own = match (written.private_key.take(), written.private_key_file.take()) {
        (Some(_), Some(_)) => {
            return Err("private_key and private_key_file are both there; keep one");
        }
        (Some(key), None) => Some(PrivateSource::Key(key)),
        (None, file) => file.map(|file| PrivateSource::File(folder.join(file))),
    };
    let psk = written.psk.take();
    let shared = match (written.key.take(), written.key_file.take()) {
        (Some(_), Some(_)) => return Err("key and key_file are both there; keep one"),
        (Some(key), None) => Some(KeySource::Shared(key)),
        (None, file) => file.map(|file| KeySource::SharedFile(folder.join(file))),
    };
    match (shared, own, written.gate_public_key.take(), psk) {
        (shared, None, None, None) => Ok(shared),
        (Some(_), _, _, _) => {
            Err("a shared key and parts of a key pair are both there; keep one kind")
        }
        (None, Some(own), Some(gate), psk) => Ok(Some(KeySource::Pair { own, gate, psk })),
        (None, Some(_), None, _) => Err(
            "gate_public_key is missing; a key pair needs it, ask the gate's administrator for it",
        ),
        (None, None, Some(_), _) => {
            Err("private_key is missing; make a pair with postern keygen --pair")
        }
        (None, None, None, Some(_)) => {
            Err("psk stands alone; it needs private_key and gate_public_key")
        }
    }
}

/// A length of time that a knock can carry: a second at least, in whole seconds.
///
/// # Errors
/// A sentence that says what was expected.
pub fn duration(text: &str) -> Result<Duration, String> {
    let length = parse_duration(text)?;
    let whole = length
        .as_secs()
        .saturating_add(u64::from(length.subsec_nanos() > 0));
    match u32::try_from(whole) {
        Ok(1..) => Ok(Duration::from_secs(whole)),
        _ => Err(format!(
            "\"{text}\" is not a length that can be granted; take one from 1s up, or leave it out for what the gate grants by default"
        )),
    }
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Length(Duration);

impl TryFrom<String> for Length {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        duration(&text).map(Self)
    }
}

/// One address, or a list of them.
struct Addresses(Vec<Endpoint>);

impl<'de> Deserialize<'de> for Addresses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AddressesVisitor)
    }
}

struct AddressesVisitor;

impl<'de> Visitor<'de> for AddressesVisitor {
    type Value = Addresses;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address in quotes or a list of them")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Addresses, E> {
        text.parse()
            .map(|one| Addresses(vec![one]))
            .map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Addresses, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(Addresses)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
