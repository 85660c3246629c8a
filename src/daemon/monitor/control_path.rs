//! Finds the control socket of the daemon that uses a config.

use std::path::{Path, PathBuf};

use crate::adapters::config;
use crate::adapters::config::disk;
use crate::adapters::files::FileErrorKind;
use crate::model::exit::{ExitError, UNAVAILABLE};

#[derive(Debug)]
pub(crate) struct ControlPath {
    pub path: PathBuf,
    /// Why the config does not name it, so that this is the default path.
    pub doubt: Option<String>,
}

/// Finds the control socket that this config names. The rest of the config may be wrong, because the daemon runs with an older one.
/// A file that others could have written is not trusted.
pub(crate) fn control_path(config: &Path) -> Result<ControlPath, ExitError> {
    let named = match disk::read_main(config) {
        Ok(main) => config::control_socket(&main).map_err(|problems| problems.to_string()),
        Err(error) => match error.kind() {
            FileErrorKind::NotFound | FileErrorKind::Permission => {
                return Err(disk::unreadable(error));
            }
            _ => Err(error.to_string()),
        },
    };
    let (path, doubt) = match named {
        Ok(path) => (path, None),
        Err(why) => (PathBuf::from(config::CONTROL_SOCKET), Some(why)),
    };
    Ok(ControlPath { path, doubt })
}

/// The error when no daemon answers. It includes what is wrong with the config, which may keep the daemon from starting or name
/// another socket.
pub(crate) fn unanswered(config: &Path, what: &str) -> ExitError {
    match disk::load(config) {
        Ok(_) => ExitError::new(UNAVAILABLE, what),
        Err(wrong) => ExitError::new(wrong.code, format!("{what}\n{wrong}")),
    }
}
