//! Who there is: all users of a config, or one of them. Changes nothing and shows no secret.

use std::path::Path;

use super::config_files::ConfigFiles;
use crate::adapters::config::Listed;
use crate::model::exit::ExitError;

/// All users, in the order of the files.
///
/// # Errors
/// Exit 78 for a config that is wrong.
pub fn users(config: &Path) -> Result<Vec<Listed>, ExitError> {
    ConfigFiles::read(config).map(|files| files.users)
}

/// One user.
///
/// # Errors
/// As [`users`], and exit 1 where there is no such user.
pub fn user(config: &Path, name: &str) -> Result<Listed, ExitError> {
    ConfigFiles::read(config)?.user(name).cloned()
}
