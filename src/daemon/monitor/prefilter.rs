//! Whether the kernel itself drops what no user's key can have made: the hint filter on the packet sockets, and why it is not there.
//!
//! Best effort: where it can't be had, the classic filter stands alone and the gate does the same work. Must come before an engine
//! binds the sockets.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use postern_proto::limits::STEP_MS;

use crate::adapters::capture::hint_filter::HintFilter;
use crate::core::order::CaptureSpec;
use crate::model::settings::{CaptureKind, Settings};

/// More hints than this would take the kernel too much memory.
const HINTS_MAX: usize = 16_000_000;

/// Why there is no hint filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Without {
    /// A bound socket hears so little that there is nothing to prefilter.
    Bound,
    /// What the kernel drops can't be told one by one.
    Debug,
    /// The kernel or this process lacks something.
    Lacking(String),
}

/// Puts the filter on these sockets, or says why not.
pub(super) fn attach(
    settings: &Settings,
    captures: &[(CaptureSpec, OwnedFd)],
) -> Result<HintFilter, Without> {
    if settings.gate.capture == CaptureKind::Udp {
        return Err(Without::Bound);
    }
    if tracing::enabled!(tracing::Level::DEBUG) {
        return Err(Without::Debug);
    }
    let hints = room(settings)
        .ok_or_else(|| Without::Lacking("there are too many users for it".to_owned()))?;
    let lacking = |error: std::io::Error| Without::Lacking(error.to_string());
    let filter = HintFilter::load(&settings.gate.ports, hints).map_err(lacking)?;
    for (_, socket) in captures {
        filter.attach(socket.as_fd()).map_err(lacking)?;
    }
    Ok(filter)
}

/// Room for the hints of all users, each with a key of before, in all steps that a table has at any time, and as many again while one
/// table follows another.
fn room(settings: &Settings) -> Option<u32> {
    let step = Duration::from_millis(STEP_MS);
    let steps =
        usize::try_from(settings.gate.window.as_millis().saturating_mul(2) / step.as_millis())
            .unwrap_or(usize::MAX)
            .saturating_add(3);
    let keys = settings.policies.len().saturating_add(8).saturating_mul(2);
    let hints = keys.saturating_mul(steps).saturating_mul(2);
    if hints > HINTS_MAX {
        None
    } else {
        u32::try_from(hints).ok()
    }
}

impl fmt::Display for Without {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bound => f.write_str("a bound socket needs none"),
            Self::Debug => f.write_str("with debug lines, each dropped datagram can be told"),
            Self::Lacking(why) => f.write_str(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::fixture::settings;

    #[test]
    fn there_is_room_for_every_user_in_every_step_and_not_for_any_number_of_users() {
        let mut few = settings(&[("alice", &["tcp/22"])]);
        assert_eq!(room(&few), Some(9 * 2 * 3 * 2));
        few.gate.window = Duration::from_secs(300);
        assert_eq!(room(&few), Some(9 * 2 * 12 * 2));
        few.policies = vec![few.policies[0].clone(); 1_000_000];
        assert_eq!(room(&few), None);
    }
}
