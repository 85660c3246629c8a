//! Imports fwknop's .fwknoprc: a profile for each of its sections.

mod keys;
mod profile;
mod read;
mod reading;
mod secret;
mod table;
#[cfg(test)]
mod tests;

use std::path::Path;

pub use profile::NewProfile;
pub(crate) use read::is_fwknoprc;
#[cfg(feature = "daemon")]
pub(crate) use secret::{HMAC_KEY_MAX, KEY_MAX, digest, key, mode};
pub use table::FWKNOPRC;

use crate::client::config_file::{ConfigFile, IN_FWKNOPRC, NewSection};
use crate::model::exit::ExitError;
use crate::model::foreign::Findings;

/// The profiles of a text, with a finding for each setting that is not converted as it is. Errors name `path`.
pub fn convert(path: &Path, text: &str) -> (Vec<NewProfile>, Findings) {
    let mut findings = Findings::default();
    let sections = read::read(path, text, &mut findings);
    let mut profiles: Vec<NewProfile> = Vec::new();
    for section in &sections {
        profiles.extend(profile::convert(section, &profiles, &mut findings));
    }
    (profiles, findings)
}

/// Adds these profiles to the config, all or none. Returns the names that it had already, and are replaced.
pub(crate) fn add(
    profiles: &[NewProfile],
    config: &Path,
    replace: bool,
) -> Result<Vec<String>, ExitError> {
    let file = ConfigFile::read(config)?;
    let mut replaced: Vec<String> = file.profiles()?.into_keys().collect();
    replaced.retain(|name| profiles.iter().any(|new| new.name == *name));
    let sections = profiles.iter().map(|new| NewSection {
        name: &new.name,
        text: &new.toml.full,
    });
    file.add(&sections.collect::<Vec<_>>(), replace, IN_FWKNOPRC)?;
    Ok(replaced)
}
