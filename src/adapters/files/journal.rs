//! Small texts of the monitor's own that outlive a crash: replaced whole, in one step.

use std::path::PathBuf;

use super::{FileErrorKind, read, write_private};
use crate::model::journal::JournalStore;

/// Room for as many grants as may be open at once.
const KEPT_MAX: u64 = 256 << 20;

/// A file in a folder that only its owner may change.
#[derive(Debug, Clone)]
pub struct JournalFile {
    path: PathBuf,
}

impl JournalFile {
    /// This file, which need not be there.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }
}

impl JournalStore for JournalFile {
    fn load(&mut self) -> Result<Option<String>, String> {
        match read(&self.path, KEPT_MAX) {
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
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_text_is_replaced_whole_and_what_a_crash_left_half_written_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = JournalFile::new(folder.path().join("grants"));
        assert_eq!(file.load(), Ok(None));
        fs::write(
            folder
                .path()
                .join(format!(".grants.{}", std::process::id())),
            "half",
        )
        .unwrap();
        for text in ["one", "the other", ""] {
            file.save(text).unwrap();
            assert_eq!(file.load(), Ok(Some(text.to_owned())));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fs::set_permissions(
            folder.path().join("grants"),
            fs::Permissions::from_mode(0o644),
        )
        .unwrap();
        assert!(
            file.load().unwrap_err().contains("chmod 600"),
            "others could read who is let in"
        );
        fs::write(folder.path().join("grants"), b"\xff").unwrap();
        assert!(file.load().is_err());
    }

    #[test]
    fn a_folder_that_is_gone_is_an_error_when_something_is_to_be_kept() {
        let mut file = JournalFile::new("/no/such/folder/grants".into());
        assert_eq!(file.load(), Ok(None));
        assert!(file.save("x").unwrap_err().contains("/no/such/folder"));
    }
}
