//! The journal: the grants that programs opened and did not close yet, on the disk.
//!
//! A grant is in the journal before its first program runs, and until its last close succeeded.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::adapters::firewall::FirewallError;
use crate::model::grant::{Grant, GrantId};
use crate::model::journal::{self, JournalStore};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) grant: Grant,
    /// Close it even before its end: a close was ordered, or only a part of it was opened.
    pub(super) closing: bool,
}

impl Record {
    fn new(grant: &Grant, closing: bool) -> Self {
        let grant = grant.clone();
        Self { grant, closing }
    }
}

type Records = BTreeMap<GrantId, Record>;

pub(super) struct Journal {
    store: Box<dyn JournalStore>,
    records: Records,
    /// The file is not up to date. It then lists too many grants, never too few.
    is_pending: bool,
}

impl Journal {
    pub(super) fn open(mut store: Box<dyn JournalStore>) -> Result<Self, FirewallError> {
        let text = store.load().map_err(FirewallError::Journal)?;
        let records: Vec<Record> = text.as_deref().map_or(Ok(Vec::new()), journal::read).map_err(|why| {
            let cure = "close by hand what [firewall.command] opened, move the file away and start again";
            FirewallError::Journal(format!("{}: the journal of open grants is damaged: {why}; {cure}", store.name()))
        })?;
        let records = records.into_iter();
        Ok(Self {
            store,
            records: records.map(|record| (record.grant.id, record)).collect(),
            is_pending: false,
        })
    }

    pub(super) fn get(&self, id: GrantId) -> Option<&Record> {
        self.records.get(&id)
    }

    pub(super) fn ids(&self) -> BTreeSet<GrantId> {
        self.records.keys().copied().collect()
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// Records grants that are about to open, in one write that survives a crash.
    pub(super) fn record<'a>(
        &mut self,
        grants: impl Iterator<Item = &'a Grant>,
    ) -> Result<(), FirewallError> {
        let mut next = self.records.clone();
        next.extend(grants.map(|grant| (grant.id, Record::new(grant, false))));
        if next != self.records {
            save(self.store.as_mut(), &next)?;
            self.records = next;
            self.is_pending = false;
        }
        Ok(())
    }

    pub(super) fn put(&mut self, grant: &Grant, closing: bool) {
        let record = Record::new(grant, closing);
        let known = self.records.insert(grant.id, record.clone());
        self.is_pending |= known != Some(record);
    }

    pub(super) fn forget(&mut self, id: GrantId) {
        self.is_pending |= self.records.remove(&id).is_some();
    }

    /// Writes pending changes. Before that, a crash only causes one more close.
    pub(super) fn write_pending(&mut self) -> Result<(), FirewallError> {
        if self.is_pending {
            save(self.store.as_mut(), &self.records)?;
            self.is_pending = false;
        }
        Ok(())
    }
}

fn save(store: &mut dyn JournalStore, records: &Records) -> Result<(), FirewallError> {
    let saved = journal::write(records.values()).and_then(|text| store.save(&text));
    saved.map_err(FirewallError::Journal)
}
