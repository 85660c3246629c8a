//! What the programs have opened and not yet closed, as it lies on the disk.
//!
//! A grant is here, on the disk, before its first program runs, and until its last close succeeded. Judges no time and runs nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::adapters::firewall::FirewallError;
use crate::model::grant::{Grant, GrantId};
use crate::model::journal::{self, JournalStore};

/// One grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) grant: Grant,
    /// It is to be closed whatever its time says: it was asked for, or it was never wholly open.
    pub(super) closing: bool,
}

pub(super) struct Journal {
    keep: Box<dyn JournalStore>,
    records: BTreeMap<GrantId, Record>,
    /// What is on the disk is behind. It holds too much and never too little.
    is_behind: bool,
}

impl Journal {
    /// # Errors
    /// The file can't be read or is damaged, and the way out.
    pub(super) fn open(mut keep: Box<dyn JournalStore>) -> Result<Self, FirewallError> {
        let text = keep.load().map_err(FirewallError::Journal)?;
        let records: Vec<Record> = text.as_deref().map_or(Ok(Vec::new()), journal::read).map_err(|why| {
            let way_out = "close by hand what [firewall.command] opened and is to be closed, move the file away and start again";
            FirewallError::Journal(format!("{}: the journal of open grants is damaged: {why}; {way_out}", keep.name()))
        })?;
        let records = records
            .into_iter()
            .map(|record| (record.grant.id, record))
            .collect();
        Ok(Self {
            keep,
            records,
            is_behind: false,
        })
    }

    pub(super) fn get(&self, id: GrantId) -> Option<&Record> {
        self.records.get(&id)
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// Notes grants that are about to be opened, in one write that outlives a crash.
    pub(super) fn note<'a>(
        &mut self,
        grants: impl Iterator<Item = &'a Grant>,
    ) -> Result<(), FirewallError> {
        let mut next = self.records.clone();
        for grant in grants {
            next.insert(
                grant.id,
                Record {
                    grant: grant.clone(),
                    closing: false,
                },
            );
        }
        if next != self.records {
            save(self.keep.as_mut(), &next)?;
            self.records = next;
            self.is_behind = false;
        }
        Ok(())
    }

    /// Changes what is written with the next [`Journal::catch_up`].
    pub(super) fn put(&mut self, grant: &Grant, closing: bool) {
        let record = Record {
            grant: grant.clone(),
            closing,
        };
        self.is_behind |= self.records.get(&grant.id) != Some(&record);
        self.records.insert(grant.id, record);
    }

    /// Forgets a grant whose close succeeded; written with the next [`Journal::catch_up`].
    pub(super) fn forget(&mut self, id: GrantId) {
        self.is_behind |= self.records.remove(&id).is_some();
    }

    /// Writes what is not on the disk yet. Until it is, a crash would only close something once more.
    pub(super) fn catch_up(&mut self) -> Result<(), FirewallError> {
        if self.is_behind {
            save(self.keep.as_mut(), &self.records)?;
            self.is_behind = false;
        }
        Ok(())
    }
}

fn save(
    keep: &mut dyn JournalStore,
    records: &BTreeMap<GrantId, Record>,
) -> Result<(), FirewallError> {
    journal::write(records.values())
        .and_then(|text| keep.save(&text))
        .map_err(FirewallError::Journal)
}
