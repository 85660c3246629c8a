//! Why a file was refused: the file, the cause and the cure. It never contains a byte of the file.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a file was refused; one line.
#[derive(Debug)]
pub struct FileError {
    path: PathBuf,
    kind: FileErrorKind,
    what: String,
    cure: String,
}

/// The class of an error; it decides the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileErrorKind {
    /// There is no such file (sysexits 66).
    NotFound,
    /// The caller may not use it (sysexits 77).
    Permission,
    /// Others could read or replace it (sysexits 78).
    Exposed,
    /// Too large, not a regular file, a disk error, … (sysexits 78).
    Other,
}

impl FileError {
    /// The class of the error.
    pub fn kind(&self) -> FileErrorKind {
        self.kind
    }

    /// The file or folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same error, with this cure if the file does not exist.
    #[cfg(feature = "daemon")]
    #[must_use]
    pub(crate) fn if_missing(mut self, cure: &str) -> Self {
        if self.kind == FileErrorKind::NotFound {
            cure.clone_into(&mut self.cure);
        }
        self
    }

    pub(super) fn exposed(path: &Path, what: &str, cure: &str) -> Self {
        Self::new(path, FileErrorKind::Exposed, what, cure)
    }

    pub(super) fn other(path: &Path, what: &str, cure: &str) -> Self {
        Self::new(path, FileErrorKind::Other, what, cure)
    }

    pub(super) fn io(path: &Path, done: &str, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                let cure = "make it, or name the right one";
                Self::new(path, FileErrorKind::NotFound, "does not exist", cure)
            }
            io::ErrorKind::PermissionDenied => {
                let what = format!("cannot be {done}: permission denied");
                let cure = "run as root or as its owner";
                Self::new(path, FileErrorKind::Permission, &what, cure)
            }
            _ => {
                let what = format!("cannot be {done}: {error}");
                Self::other(path, &what, "look at the file and its disk")
            }
        }
    }

    fn new(path: &Path, kind: FileErrorKind, what: &str, cure: &str) -> Self {
        Self {
            path: path.to_owned(),
            kind,
            what: what.to_owned(),
            cure: cure.to_owned(),
        }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.path.display(), self.what, self.cure)
    }
}

impl std::error::Error for FileError {}
