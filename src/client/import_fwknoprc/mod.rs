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

use crate::adapters::files::{self, FileErrorKind};
use crate::client::profile::{self as client_profile, SectionError};
use crate::client::{unreadable, unwritable};
use crate::model::exit::{ExitError, FAILED};
use crate::model::foreign::Findings;

/// Whether profiles read every key that an import writes. Until then the new config is not checked.
const CHECKED: bool = false;

/// The profiles of a text, with a finding for each setting that is not converted as it is. Errors name `path`.
pub fn convert(path: &Path, text: &str) -> (Vec<NewProfile>, Findings) {
    let mut findings = Findings::default();
    let sections = read::read(path, text, &mut findings);
    let profiles = sections.iter();
    let profiles = profiles.filter_map(|section| profile::convert(section, &mut findings));
    (profiles.collect(), findings)
}

/// Adds these profiles to the config, all or none. With `replace`, existing profiles are replaced.
pub(crate) fn add(profiles: &[NewProfile], config: &Path, replace: bool) -> Result<(), ExitError> {
    let before = match files::read_private(config) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == FileErrorKind::NotFound => None,
        Err(error) => return Err(unreadable(&error)),
    };
    let exists = before.is_some();
    let mut text = before.unwrap_or_default();
    for new in profiles {
        let added = client_profile::with_section(&text, &new.name, &new.toml.full, replace);
        text = added.map_err(|error| cannot_add(error, &new.name, config))?;
    }
    if CHECKED {
        client_profile::parse(&text, config)?;
    }
    let written = if exists {
        let real = std::fs::canonicalize(config).unwrap_or_else(|_| config.to_owned());
        files::write_private(&real, text.as_bytes(), true)
    } else {
        files::make_folder(&files::folder_of(config), 0o700)
            .and_then(|_| files::write_private(config, text.as_bytes(), false))
    };
    written.map_err(|error| unwritable(&error))
}

fn cannot_add(error: SectionError, name: &str, config: &Path) -> ExitError {
    let config = config.display();
    let (what, cure) = match error {
        SectionError::Exists => (
            format!("there is a profile {name} in {config} already"),
            "rename the section in .fwknoprc, or replace the profile with --replace",
        ),
        SectionError::NotASection => (
            format!("{config} cannot take the profile {name} as a section"),
            "edit the file, or rename the section in .fwknoprc",
        ),
    };
    ExitError::new(FAILED, format!("{what}; {cure}"))
}
