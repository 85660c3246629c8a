//! What an administrator does with rosters: make and sign one where users are kept, and take one at a gate.

use std::path::Path;

pub(crate) mod author;
pub(crate) mod gate;
pub(crate) mod publish;
mod signed_file;

pub(crate) use signed_file::SignedFile;

use crate::core::roster::Trust;
use crate::core::roster::minisign::PublicKey;
use crate::daemon::roster;
use crate::model::exit::{ExitError, USAGE};

/// These public keys, or those that the config trusts.
pub(crate) fn trust(config: &Path, keys: &[String]) -> Result<Trust, ExitError> {
    if keys.is_empty() {
        return Ok(roster::place(config)?.trust());
    }
    let keys = keys.iter().map(|key| PublicKey::parse(key));
    let keys = keys.collect::<Result<_, _>>();
    Ok(Trust {
        keys: keys.map_err(|fault| ExitError::new(USAGE, format!("--public-key: {fault}")))?,
        signatures: 1,
    })
}
