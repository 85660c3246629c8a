//! The policies of all users of a config, which many parts share without a copy.

use std::hash::{BuildHasher, RandomState};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::model::policy::Policy;

/// One policy for each user. A clone costs nothing.
#[derive(Debug, Clone, Default)]
pub struct Policies(Arc<Vec<Policy>>);

/// Finds a user among policies by name: a hash table with the numbers of users alone.
#[derive(Debug)]
pub struct NameIndex {
    hasher: RandomState,
    slots: Vec<u32>,
}

const FREE: u32 = u32::MAX;

impl Policies {
    /// Policies with each kind of rules at least once, and few of them twice.
    pub fn with_distinct_rules(&self) -> impl Iterator<Item = &Policy> {
        let after = self.iter().zip(self.iter().skip(1));
        let changes = after.filter(|(one, next)| !one.shares_rules(next));
        self.first()
            .into_iter()
            .chain(changes.map(|(_, next)| next))
    }
}

impl From<Vec<Policy>> for Policies {
    fn from(mut policies: Vec<Policy>) -> Self {
        policies.shrink_to_fit();
        Self(Arc::new(policies))
    }
}

impl FromIterator<Policy> for Policies {
    fn from_iter<I: IntoIterator<Item = Policy>>(policies: I) -> Self {
        Vec::from_iter(policies).into()
    }
}

impl Deref for Policies {
    type Target = [Policy];

    fn deref(&self) -> &[Policy] {
        &self.0
    }
}

impl DerefMut for Policies {
    fn deref_mut(&mut self) -> &mut [Policy] {
        Arc::<Vec<Policy>>::make_mut(&mut self.0)
    }
}

impl NameIndex {
    pub fn of(policies: &[Policy]) -> Self {
        let room = policies.len().saturating_mul(3) / 2;
        let mut index = Self {
            hasher: RandomState::new(),
            slots: vec![FREE; room.saturating_add(1)],
        };
        for (number, policy) in (0..FREE).zip(policies) {
            let free = index.places(&policy.user);
            let free = free
                .into_iter()
                .find(|at| index.slots.get(*at) == Some(&FREE));
            if let Some(slot) = free.and_then(|at| index.slots.get_mut(at)) {
                *slot = number;
            }
        }
        index
    }

    /// The number of the user with this name. The policies are those that the index was made of.
    pub fn find(&self, policies: &[Policy], name: &str) -> Option<usize> {
        let taken = self.places(name).filter_map(|at| self.slots.get(at));
        let mut taken = taken.take_while(|number| **number != FREE);
        taken.find_map(|number| {
            let number = usize::try_from(*number).ok()?;
            (policies.get(number)?.user == *name).then_some(number)
        })
    }

    /// All slots, from the one where this name belongs.
    fn places(&self, name: &str) -> impl Iterator<Item = usize> + use<> {
        let len = self.slots.len();
        let hash = u128::from(self.hasher.hash_one(name));
        let first = hash.wrapping_mul(len as u128) >> 64;
        let first = usize::try_from(first).unwrap_or_default();
        (first..len).chain(0..first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_no_other() {
        let name = |number: usize| format!("user{number}");
        let policies: Policies = (0..1000)
            .map(|n| Policy::for_user(&name(n), Vec::new()))
            .collect();
        let index = NameIndex::of(&policies);
        for number in 0..1000 {
            assert_eq!(index.find(&policies, &name(number)), Some(number));
        }
        assert_eq!(index.find(&policies, "user1000"), None);
        assert_eq!(NameIndex::of(&[]).find(&[], "user0"), None);
    }

    #[test]
    fn shared_rules_are_visited_once() {
        let mut policies: Policies = (0..5).map(|_| Policy::for_user("a", Vec::new())).collect();
        assert_eq!(policies.with_distinct_rules().count(), 5);
        for at in [1, 2, 4] {
            let before = policies[at - 1].clone();
            assert!(policies[at].share_rules(&before));
        }
        policies[2].max_grants = 7;
        let found = policies
            .with_distinct_rules()
            .map(|policy| policy.max_grants);
        assert_eq!(Vec::from_iter(found), [64, 7, 64]);
    }
}
