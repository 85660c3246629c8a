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

/// The exit code if nothing changed that a running gate must know.
const NOTHING_NEW: u8 = 3;

const RECEIVE_WITHIN: Duration = Duration::from_secs(30);

/// Ends with success if the gate must load its config again.
pub(crate) fn run(config: &Path) -> Result<ExitCode, ExitError> {
    let link = Link::from_stdin().map_err(ExitError::system("the link to the monitor"))?;
    privileges::give_up(None)?;
    let place = super::place(config)?;
    let received: Result<Offer, _> = offer::receive(&link, RECEIVE_WITHIN).map_err(|error| {
        let why = format!("the coordinator's roster did not arrive whole: {error}");
        RosterRefusal::new(RosterFault::Unreachable, why)
    });
    match super::take(config, &place, received, false, clock::wall()) {
        Ok(taken) => {
            let what = if taken.is_new { "taken" } else { "confirmed" };
            let (version, users, until) = (taken.version, taken.users, taken.until);
            info!(version, users, %until, "roster version {version} of the coordinator is {what}");
            let is_strict = matches!(place.settings.freshness, Freshness::Strict(_));
            Ok(if taken.is_new || is_strict {
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
