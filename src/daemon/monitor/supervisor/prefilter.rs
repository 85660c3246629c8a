//! Puts the hint filter on the packet sockets, so that the kernel drops datagrams with a wrong length or an unknown hint.
//!
//! Best effort: without it the classic filter stays and the gate does the same work. Must run before an engine binds the sockets.

use std::os::fd::{AsFd, OwnedFd};

use postern_proto::limits::STEP_MS;

use crate::adapters::capture::hint_filter::HintFilter;
use crate::core::order::CaptureSpec;
use crate::model::settings::{CaptureKind, Settings};

/// They take 128 MB.
const HINTS_MAX: u32 = 16_000_000;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoPrefilter {
    #[error("only a packet socket needs one")]
    OtherCapture,
    /// The kernel counts what it drops, but the log shows each datagram.
    #[error("with debug lines, the engine logs each dropped datagram")]
    DebugLog,
    /// The kernel or this process lacks something.
    #[error("{0}")]
    Unavailable(String),
}

pub(super) fn attach(
    settings: &Settings,
    captures: &[(CaptureSpec, OwnedFd)],
) -> Result<HintFilter, NoPrefilter> {
    if settings.gate.capture != CaptureKind::Packet {
        return Err(NoPrefilter::OtherCapture);
    }
    if tracing::enabled!(tracing::Level::DEBUG) {
        return Err(NoPrefilter::DebugLog);
    }
    let hints = capacity(settings)
        .ok_or_else(|| NoPrefilter::Unavailable("there are too many users for it".to_owned()))?;
    let unavailable = |error: std::io::Error| NoPrefilter::Unavailable(error.to_string());
    let filter = HintFilter::load(&settings.gate.ports, hints, settings.fwknop_users > 0)
        .map_err(unavailable)?;
    let knocks = captures.iter();
    let knocks = knocks.filter(|(spec, _)| matches!(spec, CaptureSpec::Packet { .. }));
    for (_, socket) in knocks {
        filter.attach(socket.as_fd()).map_err(unavailable)?;
    }
    Ok(filter)
}

/// Hints of all users in all steps of a table, twice for rotated-out keys.
fn capacity(settings: &Settings) -> Option<u32> {
    let steps = settings.gate.window.as_millis().saturating_mul(2) / u128::from(STEP_MS);
    let steps = usize::try_from(steps)
        .unwrap_or(usize::MAX)
        .saturating_add(3);
    let keys = settings.policies.len().saturating_add(8).saturating_mul(2);
    let hints = u32::try_from(keys.saturating_mul(steps)).ok();
    hints.filter(|hints| *hints <= HINTS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::fixture::settings;

    #[test]
    fn capacity_covers_all_users_and_is_bounded() {
        let mut few = settings(&[("alice", &["tcp/22"])]);
        assert_eq!(capacity(&few), Some(9 * 2 * 3));
        few.gate.window = std::time::Duration::from_secs(300);
        assert_eq!(capacity(&few), Some(9 * 2 * 12));
        few.policies = vec![few.policies[0].clone(); 1_000_000].into();
        assert_eq!(capacity(&few), None);
        few.gate.window = std::time::Duration::from_secs(30);
        assert!(capacity(&few).is_some());
    }
}
