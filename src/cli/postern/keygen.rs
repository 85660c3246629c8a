//! `postern keygen`: makes keys from the system's random bytes.
//!
//! The only command that shows a key; with `--output` it shows none.

use std::path::Path;

use postern_proto::{KeyText, PrivateKey, SharedKey};
use serde::Serialize;
use zeroize::Zeroizing;

use super::arguments::Keygen;
use super::json;
use super::output::say;
use crate::adapters::files;
use crate::adapters::random;
use crate::client::{no_random_bytes, unwritable};
use crate::model::exit::ExitError;

#[derive(Serialize)]
struct KeygenJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

pub(super) fn keygen(arguments: &Keygen) -> Result<(), ExitError> {
    let random = Zeroizing::new(random::bytes().map_err(no_random_bytes)?);
    let (secret, public) = if arguments.pair {
        let private = PrivateKey::from_bytes(*random);
        (private.to_base64(), Some(private.public().to_base64()))
    } else {
        (SharedKey::from_bytes(*random).to_base64(), None)
    };
    let file = arguments.output.as_deref();
    if let Some(file) = file {
        write(file, &secret)?;
    }
    let shown = file.is_none().then_some(&*secret);
    if arguments.json {
        let keys = KeygenJson {
            key: shown.filter(|_| !arguments.pair),
            private_key: shown.filter(|_| arguments.pair),
            public_key: public.as_deref(),
            file: file.map(|file| file.display().to_string()),
        };
        return json::write("keygen", keys);
    }
    if let Some(key) = shown {
        say(&Zeroizing::new(match public {
            Some(_) => format!("private_key = \"{key}\"\n"),
            None => format!("{key}\n"),
        }))?;
    }
    public.map_or(Ok(()), |public| {
        say(&format!("public_key = \"{}\"\n", &*public))
    })
}

fn write(file: &Path, key: &KeyText) -> Result<(), ExitError> {
    let line = Zeroizing::new(format!("{}\n", &**key));
    files::write_private(file, line.as_bytes(), false).map_err(|error| unwritable(&error))
}
