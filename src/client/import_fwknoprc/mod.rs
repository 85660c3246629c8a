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

use crate::model::foreign::Findings;

/// The profiles of a text, with a finding for each setting that is not converted as it is. Errors name `path`.
pub fn convert(path: &Path, text: &str) -> (Vec<NewProfile>, Findings) {
    let mut findings = Findings::default();
    let sections = read::read(path, text, &mut findings);
    let profiles = sections.iter();
    let profiles = profiles.filter_map(|section| profile::convert(section, &mut findings));
    (profiles.collect(), findings)
}
