//! The client's config as a file: puts profiles into it, all of them or none.

use std::path::Path;

use zeroize::Zeroizing;

use super::file_error::{unreadable, unwritable};
use super::secrets::Secrets;
use crate::adapters::files::{self, FileErrorKind, folder_of};
use crate::client::profile::{self, Profiles, SectionError};
use crate::model::exit::{CONFIG, ExitError, FAILED};

pub(super) struct ConfigFile<'p> {
    path: &'p Path,
    /// `None` if there is none yet.
    before: Option<Zeroizing<String>>,
}

/// A section of the config, and the name in its header.
pub(super) struct NewSection<'s> {
    pub(super) name: &'s str,
    pub(super) text: &'s str,
}

/// How to get past a name that is taken.
pub(super) const WITH_PROFILE: &str = "choose another name with --profile";
pub(super) const IN_FWKNOPRC: &str = "rename its section in .fwknoprc";

impl<'p> ConfigFile<'p> {
    pub(super) fn read(path: &'p Path) -> Result<Self, ExitError> {
        let before = match files::read_private(path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == FileErrorKind::NotFound => None,
            Err(error) => return Err(unreadable(&error)),
        };
        Ok(Self { path, before })
    }

    fn text(&self) -> &str {
        self.before.as_ref().map_or("", |text| text.as_str())
    }

    pub(super) fn profiles(&self) -> Result<Profiles, ExitError> {
        Ok(profile::parse(self.text(), self.path)?)
    }

    /// Writes these profiles, if the config is right with them. Returns all profiles.
    pub(super) fn add(
        self,
        sections: &[NewSection<'_>],
        replace: bool,
        rename: &str,
    ) -> Result<Profiles, ExitError> {
        let mut text = Zeroizing::new(self.text().to_owned());
        for NewSection { name, text: new } in sections {
            text = profile::with_section(&text, name, new, replace)
                .map_err(|error| self.cannot_add(error, name, rename))?;
        }
        let profiles = profile::parse(&text, self.path)?;
        for NewSection { name, .. } in sections {
            let profile = profiles.get(*name).ok_or_else(|| {
                let what = format!("cannot add profile {name}; edit the config by hand");
                ExitError::new(FAILED, what)
            })?;
            if let Some(key) = &profile.key {
                Secrets::read(&profile.gate, key)?;
            }
        }
        self.write(&text)?;
        Ok(profiles)
    }

    /// A symbolic link stays and its target is replaced.
    fn write(&self, text: &str) -> Result<(), ExitError> {
        let written = if self.before.is_some() {
            let real = std::fs::canonicalize(self.path).unwrap_or_else(|_| self.path.to_owned());
            files::write_private(&real, text.as_bytes(), true)
        } else {
            files::make_folder(&folder_of(self.path), 0o700)
                .and_then(|_| files::write_private(self.path, text.as_bytes(), false))
        };
        written.map_err(|error| unwritable(&error))
    }

    fn cannot_add(&self, error: SectionError, name: &str, rename: &str) -> ExitError {
        let config = self.path.display();
        let (code, what, cure) = match error {
            SectionError::Exists => (
                FAILED,
                format!("there is a profile {name} in {config} already"),
                format!("{rename}, or replace it with --replace"),
            ),
            SectionError::NotASection => (
                CONFIG,
                format!("the profile {name} in {config} is not a section [{name}] of its own"),
                format!("edit the file, or {rename}"),
            ),
        };
        ExitError::new(code, format!("{what}; {cure}"))
    }
}
