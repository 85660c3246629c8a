//! `postern keygen`: keys from the system's random bytes.
//!
//! The one command that shows a key, for that is what it is for; with `--output` not even it does.

use std::path::Path;

use postern_proto::{KeyText, PrivateKey, SharedKey};
use serde::Serialize;
use zeroize::Zeroizing;

use super::arguments::Keygen;
use super::{Exit, Failure, json, say};
use crate::adapters::files;
use crate::adapters::random;

#[derive(Serialize)]
struct Made<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<&'a str>,
    /// Where the secret one was written, instead of being shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

pub(super) fn keygen(arguments: &Keygen) -> Result<(), Failure> {
    let file = arguments.output.as_deref();
    if arguments.pair {
        pair(file, arguments.json)
    } else {
        shared(file, arguments.json)
    }
}

fn shared(file: Option<&Path>, in_json: bool) -> Result<(), Failure> {
    let key = SharedKey::from_bytes(*random_key()?).to_base64();
    if let Some(file) = file {
        write(file, &key)?;
    }
    let shown = file.is_none().then_some(&*key);
    match (in_json, shown) {
        (true, _) => json::write(
            "keygen",
            Made {
                key: shown,
                private_key: None,
                public_key: None,
                file: name(file),
            },
        ),
        (false, Some(key)) => say(&Zeroizing::new(format!("{key}\n"))),
        (false, None) => Ok(()),
    }
}

fn pair(file: Option<&Path>, in_json: bool) -> Result<(), Failure> {
    let private = PrivateKey::from_bytes(*random_key()?);
    let public = private.public().to_base64();
    let private = private.to_base64();
    if let Some(file) = file {
        write(file, &private)?;
    }
    let shown = file.is_none().then_some(&*private);
    match (in_json, shown) {
        (true, _) => json::write(
            "keygen",
            Made {
                key: None,
                private_key: shown,
                public_key: Some(&public),
                file: name(file),
            },
        ),
        (false, Some(private)) => say(&Zeroizing::new(format!(
            "private_key = \"{private}\"\npublic_key = \"{}\"\n",
            &*public
        ))),
        (false, None) => say(&format!("public_key = \"{}\"\n", &*public)),
    }
}

fn random_key() -> Result<Zeroizing<[u8; 32]>, Failure> {
    random::bytes()
        .map(Zeroizing::new)
        .map_err(|error| Failure::new(Exit::Io, error, "try again once the system is up"))
}

fn write(file: &Path, key: &KeyText) -> Result<(), Failure> {
    let line = Zeroizing::new(format!("{}\n", &**key));
    files::write_private(file, line.as_bytes(), false).map_err(|error| Failure::writing(&error))
}

fn name(file: Option<&Path>) -> Option<String> {
    file.map(|file| file.display().to_string())
}
