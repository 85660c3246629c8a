//! Puts a roster at the coordinator, from where gates take it.

use std::path::Path;
use std::time::Duration;

use super::SignedFile;
use crate::adapters::clock;
use crate::adapters::config::disk;
use crate::admin::roster::gate::NotApplied;
use crate::core::claims::Coordinator;
use crate::core::roster;
use crate::core::roster::minisign::SignedBytes;
use crate::core::roster::published::{HEAD, HEAD_MAX, Head, PART_MAX};
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
    let verified = roster::verify(&text, &signatures, &place(config)?.trust());
    let verified = verified.map_err(NotApplied::Refused)?;
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
    put(coordinator.as_ref(), &head, &whole)?;
    Ok(Published {
        version,
        until: verified.roster.until(),
        users: verified.roster.user.len(),
        signers: verified.signed.signers,
    })
}

/// The head comes last, so that no gate finds it without its parts.
fn put(coordinator: &dyn Coordinator, head: &Head, whole: &[u8]) -> Result<(), NotApplied> {
    let failed = |why: String| ExitError::new(UNAVAILABLE, format!("the coordinator: {why}"));
    coordinator.prepare(WITHIN).map_err(failed)?;
    let old = coordinator.read(HEAD, HEAD_MAX, WITHIN).map_err(failed)?;
    let old = old.as_deref().and_then(Head::read);
    if let Some(old) = old.as_ref().filter(|old| old.version > head.version) {
        let (found, version) = (old.version, head.version);
        let why = format!("the coordinator has version {found}, and this one is {version}");
        return Err(RosterRefusal::new(RosterFault::Older, why).into());
    }
    for (name, part) in head.parts().zip(whole.chunks(PART_MAX)) {
        coordinator.write(&name, part, WITHIN).map_err(failed)?;
    }
    let line = head.write();
    coordinator
        .write_watched(HEAD, line.as_bytes(), WITHIN)
        .map_err(failed)?;
    // A gate that still reads the old parts finds the new head at its next look.
    for name in old.iter().filter(|old| *old != head).flat_map(Head::parts) {
        coordinator.remove(&name, WITHIN).map_err(failed)?;
    }
    Ok(())
}
