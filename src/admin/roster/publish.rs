//! Puts a roster at the coordinator, from where gates take it.

use std::path::Path;
use std::time::Duration;

use super::SignedFile;
use crate::adapters::clock;
use crate::adapters::config::disk;
use crate::admin::roster::gate::NotApplied;
use crate::core::claims::{Coordinator, Stored};
use crate::core::roster::minisign::SignedBytes;
use crate::core::roster::published::{HEAD, HEAD_MAX, Head, PART_MAX};
use crate::core::roster::{self, Trust, Verified};
use crate::daemon::cluster;
use crate::daemon::roster::place;
use crate::model::exit::{CONFIG, ExitError, UNAVAILABLE};
use crate::model::roster::{RosterFault, RosterRefusal};
use crate::model::time::Timestamp;

const WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) version: u64,
    pub(crate) until: Timestamp,
    pub(crate) users: usize,
    pub(crate) signers: Vec<String>,
}

/// Publishes the roster in this file, if this config trusts it and no higher version is there.
pub(crate) fn publish(config: &Path, file: &SignedFile) -> Result<Published, NotApplied> {
    let (text, signatures) = (file.text()?, file.signatures()?);
    let trust = place(config)?.trust();
    let verified = roster::verify(&text, &signatures, &trust).map_err(NotApplied::Refused)?;
    roster::check_end(&verified.roster, clock::wall()).map_err(NotApplied::Refused)?;
    let (_, settings) = disk::load(config)?;
    let Some(cluster) = &settings.cluster else {
        let what = "the config has no [cluster]; add it, or take the file at each gate with: posternd roster apply FILE";
        return Err(ExitError::new(CONFIG, what).into());
    };
    let coordinator = cluster::open_here(cluster, &settings)?;
    let whole = [&*text, signatures.as_bytes()].concat();
    let digest = SignedBytes::new(&whole).short_digest();
    let version = verified.roster.version;
    let head = Head::new(version, &digest, text.len(), signatures.len());
    let old = old_head(coordinator.as_ref(), &verified, &trust)?;
    put(coordinator.as_ref(), old.as_ref(), &head, &whole)?;
    Ok(Published {
        version,
        until: verified.roster.until(),
        users: verified.roster.user.len(),
        signers: verified.signed.signers,
    })
}

/// The head at the coordinator. Fails if it leads to a newer roster of trusted signers, or to another one of this version. A head
/// without a trusted roster stops no publication: everybody with write access can make one.
fn old_head(
    coordinator: &dyn Coordinator,
    new: &Verified<'_>,
    trust: &Trust,
) -> Result<Option<Head>, NotApplied> {
    coordinator.prepare(WITHIN).map_err(failed)?;
    let head = coordinator.read(HEAD, HEAD_MAX, WITHIN).map_err(failed)?;
    let head = match &head {
        Stored::Value(head) => Head::read(head),
        Stored::Nothing | Stored::TooLong => None,
    };
    let version = new.roster.version;
    let Some(old) = head.as_ref().filter(|old| old.version >= version) else {
        return Ok(head);
    };
    let fetched = cluster::fetch_roster(coordinator, old).map_err(failed)?;
    let (text, signatures) = fetched.unwrap_or_default();
    let there = roster::verify(&text, &String::from_utf8_lossy(&signatures), trust).ok();
    let there = there.filter(|there| there.roster.version >= version);
    match there {
        Some(there) if there.roster.version > version => {
            let found = there.roster.version;
            let why = format!("the coordinator has version {found}, and this one is {version}");
            Err(RosterRefusal::new(RosterFault::Older, why).into())
        }
        // With more signatures it is the same roster.
        Some(there) if there.signed.text != new.signed.text => {
            let cure = "make the change in that one, and sign it";
            let why = format!("the coordinator has another roster of version {version}; {cure}");
            Err(RosterRefusal::new(RosterFault::Older, why).into())
        }
        Some(_) | None => Ok(head),
    }
}

/// The head comes last, so that no gate finds it without its parts.
fn put(
    coordinator: &dyn Coordinator,
    old: Option<&Head>,
    head: &Head,
    whole: &[u8],
) -> Result<(), NotApplied> {
    for (name, part) in head.parts().zip(whole.chunks(PART_MAX)) {
        coordinator.write(&name, part, WITHIN).map_err(failed)?;
    }
    let line = head.write();
    coordinator
        .write_watched(HEAD, line.as_bytes(), WITHIN)
        .map_err(failed)?;
    // A gate that still reads the old parts finds the new head at its next look.
    let replaced = old.filter(|old| *old != head);
    for name in replaced.into_iter().flat_map(Head::parts) {
        coordinator.remove(&name, WITHIN).map_err(failed)?;
    }
    Ok(())
}

fn failed(why: impl std::fmt::Display) -> ExitError {
    ExitError::new(UNAVAILABLE, format!("the coordinator: {why}"))
}
