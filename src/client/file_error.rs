//! Exit codes for files that cannot be read or written.

use crate::adapters::files::{FileError, FileErrorKind};
use crate::model::exit::{CANNOT_CREATE, CONFIG, ExitError, NO_INPUT, PERMISSION};

pub(crate) fn unreadable(error: &FileError) -> ExitError {
    let code = match error.kind() {
        FileErrorKind::NotFound => NO_INPUT,
        FileErrorKind::Permission => PERMISSION,
        FileErrorKind::Exposed | FileErrorKind::Other => CONFIG,
    };
    ExitError::new(code, error)
}

pub(crate) fn unwritable(error: &FileError) -> ExitError {
    let code = match error.kind() {
        FileErrorKind::Permission => PERMISSION,
        _ => CANNOT_CREATE,
    };
    ExitError::new(code, error)
}
