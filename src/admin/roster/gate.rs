//! Takes a roster at a gate, from a file or over https.

use std::path::Path;

use super::SignedFile;
use crate::adapters::clock;
use crate::adapters::config::RosterPlace;
use crate::admin::reload::{ReloadResult, reload};
use crate::daemon::monitor;
use crate::daemon::roster::{self, NotTaken, Offer, Taken};
use crate::model::exit::{CONFIG, ExitError, UNAVAILABLE};
use crate::model::roster::{Freshness, RosterRefusal};

#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) taken: Taken,
    /// `None` if nothing changed that a running gate must know.
    pub(crate) reload: Option<ReloadResult>,
}

#[derive(Debug)]
pub(crate) enum NotApplied {
    Refused(RosterRefusal),
    Failed(ExitError),
}

impl From<ExitError> for NotApplied {
    fn from(error: ExitError) -> Self {
        Self::Failed(error)
    }
}

/// Takes the roster in this file, and has the running gate load it.
pub(crate) fn apply(
    config: &Path,
    file: &SignedFile,
    unprotect: bool,
) -> Result<Applied, NotApplied> {
    let place = roster::place(config)?;
    let offer = Offer {
        text: file.text()?,
        signatures: file.signatures()?,
    };
    take(config, &place, Ok(offer), unprotect)
}

/// Fetches the roster that the config names, takes it, and has the running gate load it.
pub(crate) fn pull(config: &Path, unprotect: bool) -> Result<Applied, NotApplied> {
    let place = roster::place(config)?;
    let Some(url) = &place.settings.url else {
        let what = "[roster] has no url; add url = \"https://…\", or take a file with: posternd roster apply FILE";
        return Err(ExitError::new(CONFIG, what).into());
    };
    // TODO fetch
    let _ = url;
    Err(ExitError::new(UNAVAILABLE, "not yet").into())
}

fn take(
    config: &Path,
    place: &RosterPlace,
    offer: Result<Offer, RosterRefusal>,
    unprotect: bool,
) -> Result<Applied, NotApplied> {
    let taken = roster::take(config, place, offer, unprotect, clock::wall());
    let taken = taken.map_err(|error| match error {
        NotTaken::Refused(refusal) => NotApplied::Refused(refusal),
        NotTaken::Failed(error) => NotApplied::Failed(error),
    })?;
    // The end of its users moves with each confirmation.
    let is_strict = matches!(place.settings.freshness, Freshness::Strict(_));
    let is_changed = taken.is_new || is_strict || unprotect;
    let socket = monitor::control_path(config)?.path;
    Ok(Applied {
        reload: is_changed.then(|| reload(&socket)),
        taken,
    })
}
