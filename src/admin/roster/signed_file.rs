//! A roster on disk, and the file with its signatures beside it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::adapters::config::disk;
use crate::adapters::files;
use crate::model::exit::{CONFIG, ExitError, NO_INPUT};
use crate::model::roster::{ROSTER_MAX, SIGNATURES_TEXT_MAX};

/// minisign's tools look for signatures in this file.
const ENDING: &str = ".minisig";

#[derive(Debug)]
pub(crate) struct SignedFile {
    pub(crate) path: PathBuf,
}

impl SignedFile {
    pub(crate) fn new(path: &Path) -> Self {
        let path = path.to_owned();
        Self { path }
    }

    pub(crate) fn signatures_path(&self) -> PathBuf {
        let mut path = OsString::from(&self.path);
        path.push(ENDING);
        PathBuf::from(path)
    }

    /// The text, of which one byte too many is read if it is too long.
    pub(crate) fn text(&self) -> Result<Vec<u8>, ExitError> {
        read(&self.path, ROSTER_MAX)
    }

    /// The signatures; empty if there is no such file.
    pub(crate) fn signatures(&self) -> Result<String, ExitError> {
        let path = self.signatures_path();
        if path.symlink_metadata().is_err() {
            return Ok(String::new());
        }
        let bytes = read(&path, SIGNATURES_TEXT_MAX)?;
        // What is no text has no signature in it.
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    pub(crate) fn write_text(&self, text: &str, is_new: bool) -> Result<(), ExitError> {
        files::write_private(&self.path, text.as_bytes(), !is_new).map_err(disk::unreadable)
    }

    pub(crate) fn write_signatures(&self, text: &str) -> Result<(), ExitError> {
        let path = self.signatures_path();
        files::write_private(&path, text.as_bytes(), true).map_err(disk::unreadable)
    }
}

fn read(path: &Path, most: usize) -> Result<Vec<u8>, ExitError> {
    let missing = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    files::read_at_most(path, most.saturating_add(1)).map_err(|error| {
        let code = if missing(&error) { NO_INPUT } else { CONFIG };
        ExitError::new(code, format!("{}: {error}", path.display()))
    })
}
