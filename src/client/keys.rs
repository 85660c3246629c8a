//! From where a profile says its key is to the keys of a knock (PROTOCOL section 2).
//!
//! Key texts pass through wiped buffers only, and no error shows one.

use std::path::Path;

use postern_proto::{GateName, KeyError, KeyMaterial, PrivateKey, SharedKey, UserKeys};

use super::{Exit, Failure};
use crate::adapters::files;
use crate::client::profile::{self, KeySource, PrivateSource, Profiles};

/// Reads the profiles of a config.
///
/// # Errors
/// When the file is missing, others can read it, or something in it is wrong.
pub fn read_config(path: &Path) -> Result<Profiles, Failure> {
    let text = files::read_private(path).map_err(|error| Failure::from_file(&error))?;
    Ok(profile::parse(&text, path)?)
}

/// Derives the keys for a gate, reading the key's file where it has one.
///
/// # Errors
/// When the file cannot be read or holds no key, or a pair's public key is none.
pub fn user_keys(gate: &GateName, source: &KeySource) -> Result<UserKeys, Failure> {
    let material = match source {
        KeySource::Shared(key) => KeyMaterial::shared(key),
        KeySource::SharedFile(path) => KeyMaterial::shared(&in_file(path, SharedKey::from_base64)?),
        KeySource::Pair { own, gate, psk } => {
            let read;
            let own = match own {
                PrivateSource::Key(key) => key,
                PrivateSource::File(path) => {
                    read = in_file(path, PrivateKey::from_base64)?;
                    &read
                }
            };
            KeyMaterial::pair_at_client(own, gate, psk.as_ref()).map_err(|error| {
                Failure::new(
                    Exit::Config,
                    format!("gate_public_key: {error}"),
                    "ask the gate's administrator for the right one",
                )
            })?
        }
    };
    Ok(UserKeys::derive(gate, &material))
}

/// A shared key from its text; `place` says where the text came from. A line's end behind it is no part of it.
///
/// # Errors
/// When the text is no key.
pub fn shared_key(text: &str, place: &str) -> Result<SharedKey, Failure> {
    SharedKey::from_base64(text.trim()).map_err(|error| no_key(place, error))
}

fn in_file<K>(path: &Path, read: impl Fn(&str) -> Result<K, KeyError>) -> Result<K, Failure> {
    let text = files::read_private(path).map_err(|error| Failure::from_file(&error))?;
    read(text.trim()).map_err(|error| no_key(&path.display().to_string(), error))
}

fn no_key(place: &str, error: KeyError) -> Failure {
    Failure::new(
        Exit::Config,
        format!("{place}: {error}"),
        "put the key alone there, on one line, as postern keygen prints it",
    )
}
