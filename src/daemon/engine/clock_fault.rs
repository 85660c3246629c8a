//! Clocks that keep clients out, and the warning about one of them.

use std::time::Duration;

use tracing::warn;

use crate::core::gate::ClockWarning;
use crate::model::time::human;

/// Why no knock of a client with a right clock is admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClockFault {
    Unset,
    /// A knock was admitted at a later time.
    Behind,
}

pub(super) fn warn_of_clock(warning: &ClockWarning) {
    let (user, came, made) = (&warning.user, warning.came, warning.made);
    let (length, side) = match made.since(came) {
        Duration::ZERO => (came.since(made), "behind"),
        ahead => (ahead, "ahead"),
    };
    let length = human(Duration::from_secs(length.as_secs()));
    warn!(
        user,
        "{user}'s clock is {length} {side}, so the gate drops {user}'s knocks; set it, or this gate's, whichever is wrong; to \
         compare them: posternd explain --clock"
    );
}
