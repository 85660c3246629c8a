//! Takes a roster: verifies it, checks the config with this gate's part of it, and stores it for the next load of the config.
//!
//! All ways end here, so that none skips a check: a file, https, and the coordinator. The last good roster stays until a better one is
//! stored in one step.

pub(crate) mod offer;
mod refusals;
pub(crate) mod taker;
mod watch;

pub(crate) use refusals::Refusals;
pub(crate) use watch::RosterWatch;

use std::fs::File;
use std::path::Path;

use crate::adapters::config::disk;
use crate::adapters::config::{self, RosterPlace};
use crate::adapters::files;
use crate::core::roster::minisign::SignedBytes;
use crate::core::roster::{self, Floor, Installed, Notes, Roster};
use crate::daemon::monitor::directories;
use crate::model::exit::{CONFIG, ExitError, FAILED};
use crate::model::roster::{RosterFault, RosterInForce, RosterRefusal};
use crate::model::time::{Timestamp, count};

const LOCK: &str = "roster.lock";

/// A signed roster as it came from outside.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) text: Vec<u8>,
    pub(crate) signatures: String,
}

/// What is in force now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) version: u64,
    pub(crate) until: Timestamp,
    pub(crate) users: usize,
    pub(crate) signers: Vec<String>,
    /// False if the gate had this roster already.
    pub(crate) is_new: bool,
}

#[derive(Debug)]
pub(crate) enum NotTaken {
    Refused(RosterRefusal),
    Failed(ExitError),
}

impl From<ExitError> for NotTaken {
    fn from(error: ExitError) -> Self {
        Self::Failed(error)
    }
}

impl From<RosterRefusal> for NotTaken {
    fn from(refusal: RosterRefusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Where this config says that rosters come from.
pub(crate) fn place(config: &Path) -> Result<RosterPlace, ExitError> {
    let main = disk::read_main(config).map_err(disk::unreadable)?;
    config::roster_place(&main).ok_or_else(|| {
        // If the section is wrong, loading says how.
        disk::load(config).err().unwrap_or_else(|| {
            let cure = "add [roster] with trust = [\"…\"], the public keys of those who sign it";
            let what = format!("{}: there is no [roster]; {cure}", config.display());
            ExitError::new(CONFIG, what)
        })
    })
}

/// Takes a roster, or notes why it is refused. Services of former users stay closed unless `unprotect` is set.
pub(crate) fn take(
    config: &Path,
    place: &RosterPlace,
    offer: Result<Offer, RosterRefusal>,
    unprotect: bool,
    now: Timestamp,
) -> Result<Taken, NotTaken> {
    if now < Timestamp::OLDEST {
        let what = format!("the system's clock says {now}, so it is not set yet; set it first");
        return Err(ExitError::new(FAILED, what).into());
    }
    let _lock = lock(place)?;
    let taken = offer
        .map_err(NotTaken::Refused)
        .and_then(|offer| put_in_force(config, place, &offer, unprotect, now));
    if let Err(NotTaken::Refused(refusal)) = &taken {
        Refusals::note(&place.folder(), refusal, now)?;
    }
    taken
}

fn put_in_force(
    config: &Path,
    place: &RosterPlace,
    offer: &Offer,
    unprotect: bool,
    now: Timestamp,
) -> Result<Taken, NotTaken> {
    let trust = place.trust();
    let verified = roster::verify(&offer.text, &offer.signatures, &trust)?;
    let file = place.read()?;
    let old = file.as_ref().and_then(|file| Installed::read(&file.text));
    let last = match (place.floor(), &old) {
        // Either of the two files stands for the other.
        (Err(_) | Ok(None), Some(old)) => Some(floor_of(place, old)?),
        (floor, _) => floor?,
    };
    roster::accept(&verified, &place.gate, last.as_ref(), now)?;
    let is_new = old.is_none_or(|old| old.text != verified.signed.text);
    drop(file);
    let part = place.part(&verified.roster, now);
    let floor = Floor::after(
        last.as_ref(),
        &verified.roster,
        &verified.signed.digest,
        &part,
        unprotect,
    );
    let closed = floor.closed_beside(&part);
    let mut bundle = disk::read_bundle(config).map_err(disk::unreadable)?;
    bundle.roster = Some(config::gate_part(place, &part, &closed));
    if let Err(error) = disk::complete(&mut bundle, config::load) {
        let first = error.message.lines().next().unwrap_or_default();
        let more = error.message.lines().count().saturating_sub(1);
        let more = match more {
            0 => String::new(),
            more => format!(" (and {} more)", count(more, "problem")),
        };
        let why = format!("the config cannot be loaded with it: {first}{more}");
        return Err(RosterRefusal::new(RosterFault::Unusable, why).into());
    }
    let roster = &verified.roster;
    let installed = Installed {
        notes: Notes {
            in_force: RosterInForce {
                version: roster.version,
                until: roster.until(),
                signatures: roster.signatures,
                confirmed: now,
            },
            closed,
        },
        signatures: &offer.signatures,
        text: verified.signed.text,
    };
    // The floor first: if the second write fails, the same roster can be taken again, and no older one.
    for (path, text) in [
        (place.floor_file(), floor.write()),
        (place.file(), installed.write()),
    ] {
        files::write_private(&path, text.as_bytes(), true).map_err(disk::unreadable)?;
    }
    let digest = &verified.signed.digest;
    place.keep(&bundle, digest, now, &installed.notes.closed);
    Ok(Taken {
        version: roster.version,
        until: roster.until(),
        users: part.count,
        signers: verified.signed.signers,
        is_new,
    })
}

/// The floor that the roster in force stands for.
fn floor_of(place: &RosterPlace, old: &Installed<'_>) -> Result<Floor, ExitError> {
    let failed = |error| ExitError::new(CONFIG, format!("{}: {error}", place.file().display()));
    let part = place.part(
        &Roster::parse(old.text).map_err(failed)?,
        old.notes.in_force.confirmed,
    );
    let services = old.notes.closed.iter().chain(&part.policies);
    Ok(Floor {
        version: old.notes.in_force.version,
        signatures: old.notes.in_force.signatures,
        digest: SignedBytes::new(old.text.as_bytes()).digest(),
        services: services.cloned().collect(),
    })
}

/// One command at a time, as long as the returned file is open.
fn lock(place: &RosterPlace) -> Result<File, ExitError> {
    let path = directories::prepare_monitor(&place.state_dir)?.join(LOCK);
    let doing = format!("locking {}", path.display());
    let file = files::open_lock(&path).and_then(|file| file.lock().map(|()| file));
    file.map_err(ExitError::system(doing))
}
