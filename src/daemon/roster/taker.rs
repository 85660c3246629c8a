//! The process that verifies a roster of the coordinator: started by the monitor when one waits, it takes that one and ends.
//!
//! It has the monitor's sandbox, no capability, and root's files. It reads nothing from the network, only what the cluster process
//! hands on, and parses nothing of it before the signatures are verified.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tracing::{info, warn};

use super::{NotTaken, Offer, offer};
use crate::adapters::clock;
use crate::adapters::ipc::Link;
use crate::daemon::engine::privileges;
use crate::model::exit::{ExitError, FAILED};
use crate::model::roster::{Freshness, RosterFault, RosterRefusal};
use crate::model::time::Timestamp;

/// The exit code if nothing changed that a running gate must know.
const NOTHING_NEW: u8 = 3;

const RECEIVE_WITHIN: Duration = Duration::from_secs(30);

/// Ends with success if the gate must load its config again. It has loaded the version `loaded`.
pub(crate) fn run(config: &Path, loaded: u64) -> Result<ExitCode, ExitError> {
    let link = Link::from_stdin().map_err(ExitError::system("the link to the monitor"))?;
    privileges::give_up(None)?;
    let place = super::place(config)?;
    let before = place.notes().map(|notes| notes.in_force.confirmed);
    let received: Result<Offer, _> = offer::receive(&link, RECEIVE_WITHIN).map_err(|error| {
        let why = format!("the coordinator's roster did not arrive whole: {error}");
        RosterRefusal::new(RosterFault::Unreachable, why)
    });
    let now = clock::wall();
    match super::take(config, &place, received, false, now) {
        Ok(taken) => {
            let what = if taken.is_new { "taken" } else { "confirmed" };
            let (version, users, until) = (taken.version, taken.users, taken.until);
            info!(version, users, %until, "roster version {version} of the coordinator is {what}");
            // A reload after an earlier one may have failed.
            let is_unloaded = taken.is_new || version != loaded;
            let is_due = is_reload_due(place.settings.freshness, before, now);
            Ok(if is_unloaded || is_due {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(NOTHING_NEW)
            })
        }
        Err(NotTaken::Refused(refusal)) => {
            warn!("the coordinator's roster is refused, {refusal}");
            Ok(ExitCode::from(FAILED))
        }
        Err(NotTaken::Failed(error)) => Err(error),
    }
}

/// Whether the running gate must learn of a confirmation, so that its roster does not get stale. A reload starts a cluster process,
/// which offers the roster in force again, so a confirmation soon after another one is no reason for a reload.
fn is_reload_due(freshness: Freshness, before: Option<Timestamp>, now: Timestamp) -> bool {
    let Freshness::Strict(age) = freshness else {
        return false;
    };
    before.is_none_or(|before| now < before || now.since(before) >= age / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confirmations_in_a_row_cause_no_reload() {
        let age = Duration::from_secs(80);
        let now = Timestamp::OLDEST.plus(age);
        let ago = |seconds| Some(now.minus(Duration::from_secs(seconds)));
        for (freshness, before, is_due) in [
            (Freshness::Strict(age), ago(20), true),
            (Freshness::Strict(age), ago(2), false),
            (Freshness::Strict(age), Some(now.plus(age)), true),
            (Freshness::Strict(age), None, true),
            (Freshness::BestEffort(age), ago(20), false),
            (Freshness::Any, None, false),
        ] {
            assert_eq!(is_reload_due(freshness, before, now), is_due, "{before:?}");
        }
    }
}
