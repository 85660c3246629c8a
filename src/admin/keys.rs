//! New keys for a user: the lines for the config, and the part for the client.
//!
//! If the client has made its own pair, no secret is made or printed here.

use postern_proto::limits::KEY_LEN;
use postern_proto::{KeyText, PresharedKey, PrivateKey, SharedKey};
use zeroize::Zeroizing;

use super::config_files::ConfigFiles;
use crate::adapters::random;
use crate::client::token::{EnrollRequest, TokenKey};
use crate::model::exit::{ExitError, SYSTEM, USAGE};

#[derive(Debug, Clone)]
pub(crate) enum KeyChoice {
    Shared,
    Pair { psk: bool },
    Enrolled { request: EnrollRequest, psk: bool },
}

pub(super) struct NewKey {
    pub(super) lines: Vec<(&'static str, KeyText)>,
    pub(super) token: TokenKey,
}

pub(super) fn make(choice: &KeyChoice, files: &ConfigFiles) -> Result<NewKey, ExitError> {
    let (own, psk) = match choice {
        KeyChoice::Shared => {
            let key = SharedKey::from_bytes(*random_key()?);
            return Ok(NewKey {
                lines: vec![("key", key.to_base64())],
                token: TokenKey::Shared(key),
            });
        }
        KeyChoice::Pair { psk } => (Ok(PrivateKey::from_bytes(*random_key()?)), psk),
        KeyChoice::Enrolled { request, psk } => (Err(request.public_key), psk),
    };
    let gate = files.gate_public_key()?;
    let psk = psk.then(random_key).transpose()?;
    let psk = psk.map(|bytes| PresharedKey::from_bytes(*bytes));
    let public = own.as_ref().map_or_else(|key| *key, PrivateKey::public);
    let mut lines = vec![("public_key", public.to_base64())];
    lines.extend(psk.as_ref().map(|psk| ("psk", psk.to_base64())));
    let token = match own {
        Ok(own) => TokenKey::Pair { own, gate, psk },
        Err(own) => TokenKey::Enrolled { own, gate, psk },
    };
    Ok(NewKey { lines, token })
}

pub(crate) fn psk_alone() -> ExitError {
    let what = "--psk needs a key pair; add --request LINE or --pair, or leave out --psk";
    ExitError::new(USAGE, what)
}

pub(super) fn random_key() -> Result<Zeroizing<[u8; KEY_LEN]>, ExitError> {
    random::bytes()
        .map(Zeroizing::new)
        .map_err(|error| ExitError::new(SYSTEM, error))
}
