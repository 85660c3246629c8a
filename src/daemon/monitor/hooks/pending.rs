//! The on_close programs that still have to run. Each is recorded before its grant's on_open runs, until it succeeds or fails too often.
//!
//! Time is an argument. A crash loses none, because all are written to a [`JournalStore`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::command_template::CommandTemplate;
use crate::model::grant::Grant;
use crate::model::hook_unit::HookUnit;
use crate::model::journal::{self, JournalStore};
use crate::model::service::Ports;
use crate::model::time::Timestamp;

pub(super) const TRIES: u32 = 10;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PendingClose {
    pub(super) grant: Grant,
    pub(super) service: String,
    pub(super) ports: Ports,
    pub(super) template: CommandTemplate,
    #[serde(default)]
    pub(super) unit: Option<HookUnit>,
    pub(super) tries: u32,
    pub(super) is_due: bool,
}

/// Why the journal is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PendingError {
    /// The file cannot be read or written.
    #[error("{0}")]
    Journal(String),
    /// The file does not hold what was saved.
    #[error(
        "{file}: the journal of on_close programs is damaged: {damage}; move the file away and start again; the on_close programs that it held are then not run"
    )]
    Damaged {
        file: String,
        damage: journal::Damaged,
    },
}

fn at_once(close: PendingClose) -> (Timestamp, PendingClose) {
    (Timestamp::default(), close)
}

pub(super) struct PendingCloses {
    journal: Box<dyn JournalStore>,
    closes: Vec<(Timestamp, PendingClose)>,
}

impl PendingCloses {
    pub(super) fn open(mut journal: Box<dyn JournalStore>) -> Result<Self, PendingError> {
        let text = journal.load().map_err(PendingError::Journal)?;
        let closes: Vec<PendingClose> = match text {
            Some(text) => journal::read(&text).map_err(|damage| PendingError::Damaged {
                file: journal.name(),
                damage,
            })?,
            None => Vec::new(),
        };
        let closes = closes.into_iter().map(at_once).collect();
        Ok(Self { journal, closes })
    }

    pub(super) fn compare(&mut self, live: &[Grant]) {
        for (_, close) in self.closes.iter_mut().filter(|(_, close)| !close.is_due) {
            let is_same = |one: &Grant| one.id == close.grant.id && one.opens_same(&close.grant);
            close.is_due = !live.iter().any(is_same);
        }
    }

    pub(super) fn add(&mut self, closes: Vec<PendingClose>) -> Result<(), PendingError> {
        if closes.is_empty() {
            return Ok(());
        }
        self.closes.extend(closes.into_iter().map(at_once));
        self.save()
    }

    pub(super) fn close(&mut self, grant: &Grant) {
        for (_, close) in &mut self.closes {
            if !close.is_due && close.grant.id == grant.id {
                close.is_due = true;
                close.grant = grant.clone();
            }
        }
    }

    pub(super) fn next(&self) -> Option<Timestamp> {
        let due = self.closes.iter().filter(|(_, close)| close.is_due);
        due.map(|(next, _)| *next).min()
    }

    pub(super) fn due(&self, now: Timestamp) -> Option<PendingClose> {
        let closes = self.closes.iter();
        let due = closes.filter(|(next, close)| close.is_due && *next <= now);
        let first = due.min_by_key(|(next, _)| *next);
        first.map(|(_, close)| close.clone())
    }

    pub(super) fn remove(&mut self, close: &PendingClose) -> Result<(), PendingError> {
        self.closes.retain(|(_, one)| one != close);
        self.save()
    }

    /// It failed at this time, and is tried again after a pause that doubles. Returns `false` if it is given up.
    pub(super) fn failed(
        &mut self,
        close: &PendingClose,
        now: Timestamp,
    ) -> Result<bool, PendingError> {
        let tries = close.tries.saturating_add(1);
        if tries >= TRIES {
            return self.remove(close).map(|()| false);
        }
        let pause = Duration::from_secs(1 << close.tries.min(TRIES));
        for (next, one) in self.closes.iter_mut().filter(|(_, one)| one == close) {
            (*next, one.tries) = (now.plus(pause), tries);
        }
        self.save().map(|()| true)
    }

    fn save(&mut self) -> Result<(), PendingError> {
        let text = journal::write(self.closes.iter().map(|(_, close)| close));
        text.and_then(|text| self.journal.save(&text))
            .map_err(PendingError::Journal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::fixture;
    use crate::model::command_template::Argument;
    use crate::model::journal::memory::MemoryJournal;

    fn grant(id: u64, allow: &str) -> Grant {
        Grant {
            until: at(30),
            ..fixture::grant(id, "alice", allow, &["tcp/22"])
        }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn pending_close(grant: &Grant) -> PendingClose {
        let template = CommandTemplate::new("/h".into(), vec![Argument::read("{user}{{").unwrap()]);
        PendingClose {
            grant: grant.clone(),
            service: "ssh".to_owned(),
            ports: grant.services[0],
            template,
            unit: None,
            tries: 0,
            is_due: false,
        }
    }

    #[test]
    fn close_is_due_after_its_grant_ends() {
        let journal = MemoryJournal::default();
        let open = |live: &[Grant]| {
            let mut pending = PendingCloses::open(Box::new(journal.clone())).unwrap();
            pending.compare(live);
            pending
        };
        let one = grant(1, "192.0.2.1/32");
        let mut pending = open(&[]);
        let two = pending_close(&grant(2, "192.0.2.2/32"));
        pending.add(vec![pending_close(&one), two]).unwrap();
        assert_eq!(pending.next(), None);
        let longer = Grant {
            until: at(60),
            ..one.clone()
        };
        let mut pending = open(&[longer, grant(2, "192.0.2.99/32")]);
        // Number 2 is another grant now.
        let two = pending.due(at(9)).unwrap();
        assert_eq!(two.grant, grant(2, "192.0.2.2/32"));
        pending.remove(&two).unwrap();
        assert_eq!(pending.due(at(9)), None);
        pending.close(&Grant {
            until: at(61),
            ..one
        });
        let due = pending.due(at(9)).unwrap();
        let template = pending_close(&grant(1, "::/0")).template;
        assert_eq!((due.grant.until, due.template), (at(61), template));
        assert_eq!(open(&[]).due(at(9)).unwrap().grant.id.0, 1);
    }

    #[test]
    fn failing_close_is_tried_ten_times() {
        let journal = MemoryJournal::default();
        let mut pending = PendingCloses::open(Box::new(journal.clone())).unwrap();
        let close = pending_close(&grant(1, "192.0.2.1/32"));
        pending.add(vec![close]).unwrap();
        pending.compare(&[]);
        let (mut now, mut pauses) = (at(100), Vec::new());
        loop {
            let due = pending.due(now).unwrap();
            if !pending.failed(&due, now).unwrap() {
                break;
            }
            let next = pending.next().unwrap();
            let before = Timestamp::from_millis(next.as_millis() - 1);
            assert_eq!(pending.due(before), None);
            pauses.push(next.since(now).as_secs());
            now = next;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256]);
        assert_eq!(pending.next(), None);
        let kept = PendingCloses::open(Box::new(journal)).unwrap();
        assert!(kept.closes.is_empty());
    }

    #[test]
    fn damaged_journal_is_refused() {
        let journal = MemoryJournal::default();
        *journal.text.lock().unwrap() = Some("postern journal 1 0\n".to_owned());
        let refused = PendingCloses::open(Box::new(journal)).err();
        let said = refused.unwrap().to_string();
        assert!(said.starts_with("/m/journal: the journal of on_close programs is damaged: its checksum is wrong; move"), "{said}");
    }
}
