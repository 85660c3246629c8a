//! `posternd reset-clock`: sets the store's clock floor and horizons to now, after a knock was admitted while the clock was ahead.

use std::path::Path;

use super::{directories, rights, state_folder};
use crate::adapters::clock;
use crate::adapters::config::disk;
use crate::adapters::store::disk::DiskStore;
use crate::daemon::engine::privileges;
use crate::model::exit::{ExitError, FAILED, IO};
use crate::model::mark::StoredTimes;
use crate::model::time::Timestamp;

#[derive(Debug)]
pub(crate) struct ClockReset {
    pub before: StoredTimes,
    /// No knock made before this is admitted.
    pub now: Timestamp,
}

/// Works only while no daemon runs: an engine has the times in memory.
pub(crate) fn reset_clock(config: &Path) -> Result<ClockReset, ExitError> {
    let now = clock::wall();
    if now < Timestamp::OLDEST {
        let what = format!("the system's clock says {now}, so it is not set yet; set it first");
        return Err(ExitError::new(FAILED, what));
    }
    let (bundle, settings) = disk::load(config)?;
    drop(bundle);
    rights::check()?;
    let run_as = rights::run_as(&settings.gate.run_as)?;
    let _lock = directories::lock(&settings.gate.control_socket)?;
    let state_dir = &settings.gate.state_dir;
    state_folder::prepare(state_dir, config, &run_as)?;
    // Only the engine's user may use the store, and no root process parses what an engine wrote.
    privileges::drop_rights(run_as.ids)?;
    let failed = |error| ExitError::new(IO, error);
    let mut store = DiskStore::open(state_dir).map_err(failed)?;
    let before = store.reset_clock(now).map_err(failed)?;
    Ok(ClockReset { before, now })
}
