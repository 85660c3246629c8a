//! Whether anybody changed the firewall since it was last seen to stand as it should, known without running a program.
//!
//! The rules of the nft variant belong to nf_tables, which numbers its rulesets: every transaction of anyone moves the number on
//! by one, and nothing else does. The legacy variant has no such number; there only a listing tells. Must not ask by itself:
//! the number comes from whom it is given.

use crate::model::run::{Call, Ran, Run, RunError};

/// The kernel's number of the ruleset; `None` where it can't be known.
pub type Number = dyn FnMut() -> Option<u32> + Send;

/// Runs programs, with an eye on what the kernel has of them.
pub(super) struct Runner {
    run: Box<dyn Run + Send>,
    pub(super) watch: Watch,
}

impl Runner {
    pub(super) fn new(run: Box<dyn Run + Send>) -> Self {
        Self {
            run,
            watch: Watch::default(),
        }
    }

    pub(super) fn run(&mut self, call: &Call<'_>) -> Result<Ran, RunError> {
        self.run.run(call)
    }
}

/// What is known.
#[derive(Default)]
pub(super) struct Watch {
    number: Option<Box<Number>>,
    /// Whether the rules are known to have a number.
    is_sure: bool,
    /// The number at which all of Postern's was in place.
    seen: Option<u32>,
}

impl Watch {
    pub(super) fn new(number: Box<Number>) -> Self {
        Self {
            number: Some(number),
            is_sure: false,
            seen: None,
        }
    }

    /// Whether there is a number to ask for, and it is not known yet if it counts these rules.
    pub(super) fn is_open(&self) -> bool {
        self.number.is_some() && !self.is_sure
    }

    /// Whether the number counts these rules. Where not, it is never asked for again.
    pub(super) fn settle(&mut self, is_theirs: bool) {
        self.is_sure = is_theirs;
        self.number = self.number.take().filter(|_| is_theirs);
    }

    /// The number now. To be asked before a look, so that what changes during the look shows at the next one.
    pub(super) fn number(&mut self) -> Option<u32> {
        self.number
            .as_mut()
            .filter(|_| self.is_sure)
            .and_then(|ask| ask())
    }

    /// Whether all was in place at this number.
    pub(super) fn stood_at(&self, number: Option<u32>) -> bool {
        number.is_some() && number == self.seen
    }

    /// All was in place at this number; `None` where it was not, or where nobody knows.
    pub(super) fn saw(&mut self, number: Option<u32>) {
        self.seen = number;
    }

    /// Postern itself has changed the rules, from `before` on, in so many transactions; `None` where it does not know.
    pub(super) fn changed(&mut self, before: Option<u32>, transactions: Option<u32>) {
        let expected = before
            .filter(|_| self.stood_at(before))
            .zip(transactions)
            .map(|(number, count)| number.wrapping_add(count));
        let now = self.number();
        self.seen = now.filter(|_| now == expected);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn watch(at: u32) -> (Watch, Arc<AtomicU32>) {
        let kernel = Arc::new(AtomicU32::new(at));
        let asked = Arc::clone(&kernel);
        let mut watch = Watch::new(Box::new(move || Some(asked.load(Ordering::Relaxed))));
        assert!(
            watch.is_open() && watch.number().is_none(),
            "it may be the number of other rules"
        );
        watch.settle(true);
        (watch, kernel)
    }

    #[test]
    fn a_change_of_somebody_else_shows_whenever_it_comes() {
        let (mut watch, kernel) = watch(7);
        let before = watch.number();
        assert!(!watch.stood_at(before), "nothing was seen yet");
        watch.saw(before);
        assert!(watch.stood_at(before));
        // one transaction of ours, and one of somebody else in the middle
        kernel.store(9, Ordering::Relaxed);
        watch.changed(before, Some(1));
        let now = watch.number();
        assert!(!watch.stood_at(now));
        // somebody else's before ours
        watch.saw(Some(8));
        kernel.store(10, Ordering::Relaxed);
        watch.changed(now, Some(1));
        let now = watch.number();
        assert!(!watch.stood_at(now));
    }

    #[test]
    fn changes_of_our_own_are_no_reason_to_look() {
        let (mut watch, kernel) = watch(7);
        watch.saw(Some(7));
        kernel.store(9, Ordering::Relaxed);
        watch.changed(Some(7), Some(2));
        let now = watch.number();
        assert!(watch.stood_at(now));
        watch.changed(now, None);
        assert!(
            !watch.stood_at(now),
            "where it is not known what was done, a look tells"
        );
    }

    #[test]
    fn without_a_number_nothing_is_ever_known() {
        let mut watch = Watch::default();
        let none = watch.number();
        watch.saw(none);
        watch.changed(none, Some(0));
        assert!(!watch.stood_at(none));
    }
}
