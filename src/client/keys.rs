//! The keys of a knock, from the place where a profile says its key is (`proto/README.md`, section 2).
//!
//! Key texts pass through wiped buffers only, and no error shows one.

use std::path::Path;

use postern_proto::{GateName, KeyError, KeyMaterial, PrivateKey, SharedKey, UserKeys};

use super::file_error::unreadable;
use crate::adapters::files;
use crate::client::profile::{self, PosternKey, PrivateSource, Profiles};
use crate::model::exit::{CONFIG, ExitError, IO};

pub(crate) fn read_config(path: &Path) -> Result<Profiles, ExitError> {
    let text = files::read_private(path).map_err(|error| unreadable(&error))?;
    Ok(profile::parse(&text, path)?)
}

/// Derives the keys for a gate, reading the key file where there is one.
pub(crate) fn user_keys(gate: &GateName, source: &PosternKey) -> Result<UserKeys, ExitError> {
    let material = match source {
        PosternKey::Shared(key) => KeyMaterial::shared(key),
        PosternKey::SharedFile(path) => {
            KeyMaterial::shared(&key_in_file(path, SharedKey::from_base64)?)
        }
        PosternKey::Pair { own, gate, psk } => {
            let from_file;
            let own = match own {
                PrivateSource::Key(key) => key,
                PrivateSource::File(path) => {
                    from_file = key_in_file(path, PrivateKey::from_base64)?;
                    &from_file
                }
            };
            KeyMaterial::pair_at_client(own, gate, psk.as_ref()).map_err(|error| {
                let cure = "ask the gate's administrator for the right one";
                ExitError::new(CONFIG, format!("gate_public_key: {error}; {cure}"))
            })?
        }
    };
    Ok(UserKeys::derive(gate, &material))
}

/// A shared key from its text; `place` names the source of the text in errors.
pub(crate) fn shared_key(text: &str, place: &str) -> Result<SharedKey, ExitError> {
    let text = text.trim_start_matches('\u{feff}').trim();
    SharedKey::from_base64(text).map_err(|error| not_a_key(place, error))
}

pub(crate) fn no_random_bytes(error: std::io::Error) -> ExitError {
    ExitError::new(IO, format!("{error}; try again once the system is up"))
}

fn key_in_file<K>(path: &Path, read: impl Fn(&str) -> Result<K, KeyError>) -> Result<K, ExitError> {
    let text = files::read_private(path).map_err(|error| unreadable(&error))?;
    read(text.trim()).map_err(|error| not_a_key(&path.display().to_string(), error))
}

fn not_a_key(place: &str, error: KeyError) -> ExitError {
    let cure = "write the key alone, on one line, as postern keygen prints it";
    ExitError::new(CONFIG, format!("{place}: {error}; {cure}"))
}
