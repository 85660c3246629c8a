//! The on_close programs that are owed: from before their grant's on_open runs until they succeeded or failed too often.
//!
//! Plain: times go in, debts come out. What it holds outlives a crash through the [`JournalStore`] it is given.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::command_template::CommandTemplate;
use crate::model::grant::Grant;
use crate::model::journal::{self, JournalStore};
use crate::model::service::Ports;
use crate::model::time::Timestamp;

/// A hook that failed so often is given up.
pub(super) const TRIES: u32 = 10;

/// An on_close program that is to run, as the config named it when the grant was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Debt {
    pub(super) grant: Grant,
    pub(super) service: String,
    pub(super) ports: Ports,
    pub(super) template: CommandTemplate,
    /// How often it has failed.
    pub(super) tries: u32,
    /// Whether the grant has ended.
    pub(super) is_due: bool,
}

pub(super) struct Book {
    keep: Box<dyn JournalStore>,
    /// Each with the time of its next try.
    debts: Vec<(Timestamp, Debt)>,
}

impl Book {
    /// # Errors
    /// The file can't be read or is damaged, and the way out.
    pub(super) fn open(mut keep: Box<dyn JournalStore>) -> Result<Self, String> {
        let debts: Vec<Debt> = keep.load()?.as_deref().map_or(Ok(Vec::new()), journal::read).map_err(|why| {
            let way_out = "move the file away and start again; the on_close programs that it held are then not run";
            format!("{}: the journal of on_close programs is damaged: {why}; {way_out}", keep.name())
        })?;
        Ok(Self {
            keep,
            debts: debts
                .into_iter()
                .map(|debt| (Timestamp::default(), debt))
                .collect(),
        })
    }

    /// After a start: what was open and is not any more has ended.
    pub(super) fn compare(&mut self, live: &[Grant]) {
        for (_, debt) in self.debts.iter_mut().filter(|(_, debt)| !debt.is_due) {
            debt.is_due = !live
                .iter()
                .any(|grant| grant.id == debt.grant.id && grant.same_door(&debt.grant));
        }
    }

    /// # Errors
    /// They are held, but would not outlive a crash.
    pub(super) fn add(&mut self, debts: Vec<Debt>) -> Result<(), String> {
        if debts.is_empty() {
            return Ok(());
        }
        self.debts
            .extend(debts.into_iter().map(|debt| (Timestamp::default(), debt)));
        self.save()
    }

    /// This grant has ended. That is seen after a crash too, so it is not written.
    pub(super) fn close(&mut self, grant: &Grant) {
        for (_, debt) in self
            .debts
            .iter_mut()
            .filter(|(_, debt)| !debt.is_due && debt.grant.id == grant.id)
        {
            debt.is_due = true;
            debt.grant = grant.clone();
        }
    }

    /// When the next debt is to be paid.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.debts
            .iter()
            .filter(|(_, debt)| debt.is_due)
            .map(|(next, _)| *next)
            .min()
    }

    /// The debt to be paid now that has waited longest.
    pub(super) fn due(&self, now: Timestamp) -> Option<Debt> {
        let due = self
            .debts
            .iter()
            .filter(|(next, debt)| debt.is_due && *next <= now);
        due.min_by_key(|(next, _)| *next)
            .map(|(_, debt)| debt.clone())
    }

    /// # Errors
    /// The disk does not know it yet; after a crash the program would run once more.
    pub(super) fn paid(&mut self, debt: &Debt) -> Result<(), String> {
        self.debts.retain(|(_, held)| held != debt);
        self.save()
    }

    /// It failed at this time: later again, after a pause that grows, or `false`: too often, it is given up.
    pub(super) fn failed(&mut self, debt: &Debt, now: Timestamp) -> Result<bool, String> {
        let tries = debt.tries.saturating_add(1);
        if tries >= TRIES {
            return self.paid(debt).map(|()| false);
        }
        let pause = Duration::from_secs(1 << debt.tries.min(TRIES));
        for (next, held) in self.debts.iter_mut().filter(|(_, held)| held == debt) {
            (*next, held.tries) = (now.plus(pause), tries);
        }
        self.save().map(|()| true)
    }

    fn save(&mut self) -> Result<(), String> {
        let text = journal::write(self.debts.iter().map(|(_, debt)| debt))?;
        self.keep.save(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::command_template::Argument;
    use crate::model::grant::GrantId;
    use crate::model::journal::memory::MemoryJournal;

    fn grant(id: u64, allow: &str) -> Grant {
        let services = vec!["tcp/22".parse().unwrap()];
        Grant {
            id: GrantId(id),
            user: "alice".to_owned(),
            allow: allow.parse().unwrap(),
            target: None,
            services,
            forwards: Vec::new(),
            until: at(30),
        }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn debt(grant: &Grant) -> Debt {
        let template = CommandTemplate::new("/h".into(), vec![Argument::read("{user}{{").unwrap()]);
        Debt {
            grant: grant.clone(),
            service: "ssh".to_owned(),
            ports: grant.services[0],
            template,
            tries: 0,
            is_due: false,
        }
    }

    #[test]
    fn a_debt_is_due_when_its_grant_ends_and_outlives_a_crash_until_it_is_paid() {
        let keep = MemoryJournal::default();
        let open = |live: &[Grant]| {
            let mut book = Book::open(Box::new(keep.clone())).unwrap();
            book.compare(live);
            book
        };
        let one = grant(1, "192.0.2.1/32");
        let mut book = open(&[]);
        book.add(vec![debt(&one), debt(&grant(2, "192.0.2.2/32"))])
            .unwrap();
        assert_eq!(book.next(), None);
        let longer = Grant {
            until: at(60),
            ..one.clone()
        };
        let mut book = open(&[longer, grant(2, "192.0.2.99/32")]);
        assert_eq!(
            book.due(at(9)).map(|debt| debt.grant),
            Some(grant(2, "192.0.2.2/32")),
            "number 2 is somebody else's now"
        );
        let two = book.due(at(9)).unwrap();
        book.paid(&two).unwrap();
        assert_eq!(book.due(at(9)), None);
        book.close(&Grant {
            until: at(61),
            ..one
        });
        assert_eq!(
            book.due(at(9))
                .map(|debt| (debt.grant.until, debt.template)),
            Some((at(61), debt(&grant(1, "::/0")).template))
        );
        assert_eq!(
            open(&[]).due(at(9)).map(|debt| debt.grant.id),
            Some(GrantId(1))
        );
    }

    #[test]
    fn a_debt_that_fails_is_tried_ten_times_with_growing_pauses() {
        let keep = MemoryJournal::default();
        let mut book = Book::open(Box::new(keep.clone())).unwrap();
        book.add(vec![debt(&grant(1, "192.0.2.1/32"))]).unwrap();
        book.compare(&[]);
        let (mut now, mut pauses) = (at(100), Vec::new());
        loop {
            let due = book.due(now).unwrap();
            if !book.failed(&due, now).unwrap() {
                break;
            }
            let next = book.next().unwrap();
            assert_eq!(book.due(Timestamp::from_millis(next.as_millis() - 1)), None);
            pauses.push(next.since(now).as_secs());
            now = next;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256]);
        assert_eq!(
            (book.next(), Book::open(Box::new(keep)).unwrap().debts.len()),
            (None, 0)
        );
    }

    #[test]
    fn a_damaged_journal_is_refused_with_the_way_out() {
        let keep = MemoryJournal::default();
        *keep.text.lock().unwrap() = Some("postern journal 1 0\n".to_owned());
        let said = Book::open(Box::new(keep)).err().unwrap();
        assert!(said.starts_with("/m/journal: the journal of on_close programs is damaged: its checksum is wrong; move"), "{said}");
    }
}
