//! What the monitor tells of rosters: read again when a command has written it.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use super::refusals::{self, Refusals};
use crate::adapters::config::RosterPlace;
use crate::model::roster::RosterCounters;
use crate::model::settings::Settings;

#[derive(Debug, Default)]
pub(crate) struct RosterWatch {
    /// When the two files were written.
    seen: Option<[Option<SystemTime>; 2]>,
    counters: RosterCounters,
}

impl RosterWatch {
    /// Looks at the files, and reads them if one has changed. `None` without a `[roster]`.
    pub(crate) fn look(&mut self, settings: &Settings) -> Option<RosterCounters> {
        let place = RosterPlace::of(settings)?;
        let folder = place.folder();
        let written = [place.file(), folder.join(refusals::FILE)].map(|path| changed(&path));
        if self.seen != Some(written) {
            self.seen = Some(written);
            self.counters = counters(&place);
        }
        Some(self.counters)
    }
}

fn changed(path: &Path) -> Option<SystemTime> {
    fs::symlink_metadata(path).ok()?.modified().ok()
}

fn counters(place: &RosterPlace) -> RosterCounters {
    let in_force = place.notes().map(|notes| notes.in_force);
    let refused = Refusals::read(&place.folder()).counts;
    match in_force {
        None => RosterCounters {
            refused,
            ..RosterCounters::default()
        },
        Some(in_force) => RosterCounters {
            version: in_force.version,
            until: in_force.until,
            confirmed: in_force.confirmed,
            stale: place.settings.freshness.stale_from(in_force.confirmed),
            refused,
        },
    }
}
