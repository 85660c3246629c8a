//! Drops rights before `explain` reads what strangers wrote.

use crate::daemon::engine::privileges;
use crate::model::exit::ExitError;

/// Drops all capabilities, and changes to this user if one is named. Only root has capabilities to drop.
pub(super) fn drop_rights(user: Option<(u32, u32)>) -> Result<(), ExitError> {
    if rustix::process::geteuid().is_root() {
        privileges::drop_rights(user)
    } else {
        Ok(())
    }
}
