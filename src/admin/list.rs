//! Reads all users of a config, or one. Shows no secret.

use std::path::Path;

use super::config_files::ConfigFiles;
use crate::adapters::config::Listed;
use crate::model::exit::ExitError;

pub(crate) fn users(config: &Path) -> Result<Vec<Listed>, ExitError> {
    ConfigFiles::read(config).map(|files| files.users)
}

pub(crate) fn user(config: &Path, name: &str) -> Result<Listed, ExitError> {
    ConfigFiles::read(config)?.user(name).cloned()
}
