//! Tells without running a program whether anybody changed the firewall.
//!
//! The rules of the nft variant belong to nf_tables. The kernel gives its ruleset a generation ID, and each transaction
//! adds one to it. The legacy variant has no such number.

pub(super) type GenerationId = dyn FnMut() -> Option<u32> + Send;

#[derive(Default)]
pub(super) struct Generation {
    source: Source,
    verified: Option<u32>,
}

#[derive(Default)]
enum Source {
    #[default]
    Absent,
    /// The number may count the rules of another variant.
    Unchecked(Box<GenerationId>),
    /// The number counts these rules.
    Checked(Box<GenerationId>),
}

impl Generation {
    pub(super) fn new(ask: Box<GenerationId>) -> Self {
        Self {
            source: Source::Unchecked(ask),
            verified: None,
        }
    }

    pub(super) fn is_unchecked(&self) -> bool {
        matches!(self.source, Source::Unchecked(_))
    }

    pub(super) fn check(&mut self, counts_these_rules: bool) {
        self.source = match std::mem::take(&mut self.source) {
            Source::Unchecked(ask) if counts_these_rules => Source::Checked(ask),
            Source::Unchecked(_) => Source::Absent,
            source => source,
        };
    }

    /// The generation now. Read it before the rules, so that a change during that reading is found the next time.
    pub(super) fn now(&mut self) -> Option<u32> {
        match &mut self.source {
            Source::Checked(ask) => ask(),
            _ => None,
        }
    }

    pub(super) fn is_verified(&self, generation: Option<u32>) -> bool {
        generation.is_some() && generation == self.verified
    }

    /// All rules were in place at this generation; `None` if they were not, or if that is unknown.
    pub(super) fn set_verified(&mut self, generation: Option<u32>) {
        self.verified = generation;
    }

    /// Postern itself made a transaction, and perhaps others did.
    pub(super) fn advance_by_one(&mut self) {
        let Some(verified) = self.verified else {
            return;
        };
        let after = self.now();
        self.verified = after.filter(|after| *after == verified.wrapping_add(1));
    }

    /// Postern itself ran this many transactions between the two generations.
    pub(super) fn advance(&mut self, before: Option<u32>, after: Option<u32>, transactions: u32) {
        let expected = before
            .filter(|_| self.is_verified(before))
            .map(|before| before.wrapping_add(transactions));
        self.verified = after.filter(|_| after == expected);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_others_are_seen() {
        let mut generation = Generation::new(Box::new(|| Some(7)));
        assert_eq!(generation.now(), None, "it may count the rules of others");
        generation.check(true);
        assert_eq!(generation.now(), Some(7));
        assert!(!generation.is_verified(Some(7)));
        generation.set_verified(Some(7));
        assert!(generation.is_verified(Some(7)));
        generation.advance(Some(7), Some(9), 2);
        assert!(generation.is_verified(Some(9)), "own changes");
        generation.advance(Some(9), Some(11), 1);
        assert!(!generation.is_verified(Some(11)), "a change during ours");
        generation.set_verified(Some(6));
        generation.advance_by_one();
        assert!(generation.is_verified(Some(7)), "own change");
        generation.advance_by_one();
        assert!(!generation.is_verified(Some(7)), "a change of others");
        generation.set_verified(Some(12));
        generation.advance(Some(13), Some(14), 1);
        assert!(!generation.is_verified(Some(14)), "a change before ours");
        generation.set_verified(None);
        assert!(!generation.is_verified(None));
    }
}
