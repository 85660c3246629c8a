//! Takes a roster at a gate, from a file or over https.

use std::path::Path;

use super::SignedFile;
use crate::adapters::clock;
use crate::adapters::config::RosterPlace;
use crate::adapters::control::{self, Answer, Question};
#[cfg(feature = "https")]
use crate::adapters::https::{FetchError, Https};
use crate::admin::reload::{ReloadResult, reload};
#[cfg(feature = "https")]
use crate::core;
use crate::daemon::monitor;
use crate::daemon::roster::{self, NotTaken, Offer, Taken};
#[cfg(not(feature = "https"))]
use crate::model::exit::UNAVAILABLE;
use crate::model::exit::{CONFIG, ExitError};
use crate::model::roster::{Freshness, RosterRefusal};
#[cfg(feature = "https")]
use crate::model::roster::{ROSTER_MAX, RosterFault, SIGNATURES_TEXT_MAX};

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

impl From<RosterRefusal> for NotApplied {
    fn from(refusal: RosterRefusal) -> Self {
        Self::Refused(refusal)
    }
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
    let fetched = fetch(url, place.settings.ca_file.as_deref())?;
    take(config, &place, fetched, unprotect)
}

#[cfg(not(feature = "https"))]
fn fetch(_: &str, _: Option<&Path>) -> Result<Result<Offer, RosterRefusal>, ExitError> {
    let what = "this posternd is built without https";
    let cure =
        "build it with --features https, or fetch the files and run: posternd roster apply FILE";
    Err(ExitError::new(UNAVAILABLE, format!("{what}; {cure}")))
}

/// The roster at this address, and its signatures beside it.
#[cfg(feature = "https")]
fn fetch(url: &str, ca_file: Option<&Path>) -> Result<Result<Offer, RosterRefusal>, ExitError> {
    let https = Https::new(ca_file).map_err(|why| ExitError::new(CONFIG, why))?;
    let refused = |error: FetchError| match error {
        FetchError::TooLong(_) => core::roster::too_large(),
        error => RosterRefusal::new(RosterFault::Unreachable, format!("{url}: {error}")),
    };
    let fetch = || {
        let text = https.fetch(url, ROSTER_MAX)?;
        let signatures = https.fetch(&format!("{url}.minisig"), SIGNATURES_TEXT_MAX);
        let signatures = match signatures {
            Err(FetchError::Missing) => Vec::new(),
            fetched => fetched?,
        };
        let signatures = String::from_utf8_lossy(&signatures).into_owned();
        Ok(Offer { text, signatures })
    };
    Ok(fetch().map_err(refused))
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
    let socket = monitor::control_path(config)?.path;
    // The reload after an earlier one may have failed.
    let is_loaded = loaded(&socket) == Some(taken.version);
    let is_changed = taken.is_new || is_strict || unprotect || !is_loaded;
    Ok(Applied {
        reload: is_changed.then(|| reload(&socket)),
        taken,
    })
}

/// The version that the running gate has loaded.
fn loaded(socket: &Path) -> Option<u64> {
    match control::ask(socket, &Question::Status) {
        Ok(Answer::Status(status)) => status.roster_version,
        _ => None,
    }
}
