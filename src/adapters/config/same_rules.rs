//! Lets users with equal rules share them.

use crate::model::policy::Policy;

/// Kinds of rules that are compared with. More kinds than this are not all shared.
const KINDS_MAX: usize = 32;

/// The kinds of rules that were seen, the latest first.
#[derive(Default)]
pub(super) struct SameRules(Vec<Policy>);

impl SameRules {
    pub(super) fn share(&mut self, policy: &mut Policy) {
        let known = self.0.iter();
        match known
            .enumerate()
            .find(|(_, known)| policy.share_rules(known))
        {
            Some((at, _)) => self.0.swap(0, at),
            None => {
                self.0.truncate(KINDS_MAX - 1);
                self.0.insert(0, policy.clone());
            }
        }
    }
}
