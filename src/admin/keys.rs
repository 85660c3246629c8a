//! New keys for a user: what the config holds of them, and what the client is given.
//!
//! Where the client has made its own pair, nothing secret is made here and nothing secret is handed out.

use postern_proto::limits::KEY_LEN;
use postern_proto::{KeyText, PresharedKey, PrivateKey, PublicKey, SharedKey};
use zeroize::Zeroizing;

use super::config_files::ConfigFiles;
use crate::adapters::random;
use crate::client::token::{EnrollRequest, TokenKey};
use crate::model::exit::{CONFIG, ExitError, SYSTEM};

/// Which kind of key a user is to have.
#[derive(Debug, Clone)]
pub enum KeyChoice {
    /// One that client and gate share.
    Shared,
    /// A pair that is made here, for a client that can't make its own.
    Pair {
        /// Whether a pre-shared key is mixed in.
        psk: bool,
    },
    /// The pair that the client has made.
    Enrolled {
        /// What it sent.
        request: EnrollRequest,
        /// Whether a pre-shared key is mixed in.
        psk: bool,
    },
}

/// A key that was made.
pub(super) struct NewKey {
    /// Keys of the config and their values, without quotes: `key`, or `public_key` and perhaps `psk`.
    pub(super) lines: Vec<(&'static str, KeyText)>,
    /// What the client is given.
    pub(super) token: TokenKey,
}

/// Makes what is wished.
///
/// # Errors
/// Where the gate has no key pair of its own, or the system no random bytes.
pub(super) fn make(wish: &KeyChoice, files: &ConfigFiles) -> Result<NewKey, ExitError> {
    let (own, psk) = match wish {
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
    let psk = if *psk {
        Some(PresharedKey::from_bytes(*random_key()?))
    } else {
        None
    };
    let public = own
        .as_ref()
        .map_or_else(|public| *public, PrivateKey::public);
    let mut lines = vec![("public_key", public.to_base64())];
    lines.extend(psk.as_ref().map(|psk| ("psk", psk.to_base64())));
    let token = match own {
        Ok(own) => TokenKey::Pair { own, gate, psk },
        Err(own) => TokenKey::Enrolled { own, gate, psk },
    };
    Ok(NewKey { lines, token })
}

/// The public half of the gate's own key.
///
/// # Errors
/// Where the text is no key.
pub(super) fn public_of(text: &str, path: &std::path::Path) -> Result<PublicKey, ExitError> {
    let key = PrivateKey::from_base64(text.strip_suffix('\n').unwrap_or(text));
    key.map(|key| key.public()).map_err(|error| {
        let cure = "move it away and make another with posternd init; users with key pairs then need new tokens";
        ExitError::new(CONFIG, format!("{}: {error}; {cure}", path.display()))
    })
}

/// 32 random bytes.
///
/// # Errors
/// Where the system has none.
pub(super) fn random_key() -> Result<Zeroizing<[u8; KEY_LEN]>, ExitError> {
    random::bytes()
        .map(Zeroizing::new)
        .map_err(|error| ExitError::new(SYSTEM, error))
}
