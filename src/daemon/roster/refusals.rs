//! What this gate notes of refused rosters, for metrics and `posternd check`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::adapters::config::disk;
use crate::adapters::files::{self, FileErrorKind};
use crate::model::exit::{ExitError, FAILED};
use crate::model::roster::{RosterFault, RosterRefusal};
use crate::model::time::Timestamp;

pub(super) const FILE: &str = "roster.refused";

/// The longest reason that is kept.
const WHY_MAX: usize = 1000;

/// How many rosters were refused, and the last one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusals {
    /// In the order of [`RosterFault::ALL`].
    pub(crate) counts: [u64; RosterFault::ALL.len()],
    pub(crate) last: Option<LastRefusal>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastRefusal {
    pub(crate) at: Timestamp,
    pub(crate) fault: RosterFault,
    pub(crate) why: String,
}

impl Refusals {
    /// Those that the monitor's folder has. A file that cannot be read counts as none: it decides nothing.
    pub(crate) fn read(folder: &Path) -> Self {
        let text = files::read_private(&folder.join(FILE)).ok();
        let read = text.and_then(|text| serde_json::from_str(&text).ok());
        read.unwrap_or_default()
    }

    pub(super) fn note(
        folder: &Path,
        refusal: &RosterRefusal,
        now: Timestamp,
    ) -> Result<(), ExitError> {
        let mut all = Self::read(folder);
        if let Some(count) = all.counts.get_mut(refusal.fault.index()) {
            *count = count.saturating_add(1);
        }
        all.last = Some(LastRefusal {
            at: now,
            fault: refusal.fault,
            why: refusal.why.chars().take(WHY_MAX).collect(),
        });
        let text = serde_json::to_string(&all).map_err(|error| ExitError::new(FAILED, error))?;
        let path = folder.join(FILE);
        match files::write_private(&path, text.as_bytes(), true) {
            Err(error) if error.kind() != FileErrorKind::NotFound => Err(disk::unreadable(error)),
            _ => Ok(()),
        }
    }
}
