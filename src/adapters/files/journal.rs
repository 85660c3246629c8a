//! The file of a journal: one text that survives a crash, replaced in one step.

use std::path::PathBuf;

use super::error::FileErrorKind;
use super::read::read;
use super::write::write_private;
use crate::model::journal::JournalStore;

/// Enough for the most grants that can be open.
const JOURNAL_MAX: u64 = 256 << 20;

/// A file in a folder that only its owner can change.
#[derive(Debug, Clone)]
pub struct JournalFile {
    path: PathBuf,
}

impl JournalFile {
    /// This file, which may not exist yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }
}

impl JournalStore for JournalFile {
    fn load(&mut self) -> Result<Option<String>, String> {
        match read(&self.path, JOURNAL_MAX) {
            Ok(text) => Ok(Some(text.to_string())),
            Err(error) if error.kind() == FileErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    fn save(&mut self, text: &str) -> Result<(), String> {
        write_private(&self.path, text.as_bytes(), true).map_err(|error| error.to_string())
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn journal_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grants");
        let mut file = JournalFile::new(path.clone());
        assert_eq!(file.load(), Ok(None));
        for text in ["one", "the other", ""] {
            file.save(text).unwrap();
            assert_eq!(file.load(), Ok(Some(text.to_owned())));
        }
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(file.load().unwrap_err().contains("chmod 600"));
        fs::write(&path, b"\xff").unwrap();
        assert!(file.load().is_err());
        let mut file = JournalFile::new("/no/such/folder/grants".into());
        assert!(file.save("x").unwrap_err().contains("/no/such/folder"));
    }
}
