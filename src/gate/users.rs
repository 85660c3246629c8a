//! The gate's users: their keys, their names, what each may open and how often. Decides nothing.
//!
//! Laid out for the processor's caches, for any packet may be of any user: the keys for macs in one row, what else is
//! needed of one user in one place, and policies that differ only in the user's name kept once.

use std::collections::HashMap;
use std::time::Duration;

use postern_proto::{Hint, MacKey, SealKey, Step};

use super::hints::HintKeys;
use super::quota::{GateClock, Limiter, Spent};
use super::{OldKeys, User};
use crate::policy::Policy;
use crate::time::Timestamp;

/// A row is a set of keys: the members' present ones in the order of the members, then old ones.
#[derive(Debug)]
pub(super) struct Users {
    hint_keys: HintKeys,
    mac_keys: Vec<MacKey>,
    members: Vec<Member>,
    old: Vec<OldRow>,
    /// Without names; a member knows its place here.
    policies: Vec<Policy>,
}

/// What is needed of a user once the mac is right.
#[derive(Debug)]
struct Member {
    name: Box<str>,
    policy: usize,
    limiter: Limiter,
    seal_key: SealKey,
}

/// Keys of before: all else is the member's, the quota too.
#[derive(Debug)]
struct OldRow {
    member: usize,
    until: Timestamp,
    seal_key: SealKey,
}

/// Who knocks, once the mac has said so.
#[derive(Debug, Clone, Copy)]
pub(super) struct Knocker<'a> {
    pub(super) name: &'a str,
    /// The name in it is empty.
    pub(super) policy: &'a Policy,
    pub(super) limiter: &'a Limiter,
    pub(super) seal_key: &'a SealKey,
}

impl Users {
    pub(super) fn new(users: Vec<User>, clock: &GateClock) -> Self {
        let count = users.len();
        let mut all = Self {
            hint_keys: HintKeys::with_capacity(count),
            mac_keys: Vec::with_capacity(count),
            members: Vec::with_capacity(count),
            old: Vec::new(),
            policies: Vec::new(),
        };
        let mut known: HashMap<Policy, usize> = HashMap::new();
        for User { keys, mut policy } in users {
            let name = std::mem::take(&mut policy.user).into_boxed_str();
            let limiter = Limiter::new(policy.quota, clock);
            let policy = *known.entry(policy).or_insert_with_key(|policy| {
                all.policies.push(policy.clone());
                all.policies.len().saturating_sub(1)
            });
            let (hint_key, seal_key, mac_key) = keys.into_parts();
            all.hint_keys.push(hint_key);
            all.mac_keys.push(mac_key);
            all.members.push(Member { name, policy, limiter, seal_key });
        }
        all
    }

    /// Adds keys of before; those of a user who is not there are nobody's and left out.
    pub(super) fn add_old(&mut self, OldKeys { user, keys, until }: OldKeys, window: Duration) {
        if user >= self.members.len() {
            return;
        }
        let (hint_key, seal_key, mac_key) = keys.into_parts();
        self.hint_keys.push_old(hint_key, until, window);
        self.mac_keys.push(mac_key);
        self.old.push(OldRow { member: user, until, seal_key });
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// How many sets of keys there are.
    pub(super) fn rows(&self) -> usize {
        self.mac_keys.len()
    }

    /// Until when this row's keys count; `None`: for ever.
    pub(super) fn until(&self, row: usize) -> Option<Timestamp> {
        self.old_row(row).map(|old| old.until)
    }

    /// Whether this row's keys count at this time.
    pub(super) fn counts(&self, row: usize, now: Timestamp) -> bool {
        self.old_row(row).is_none_or(|old| now < old.until)
    }

    pub(super) fn mac_key(&self, row: usize) -> Option<&MacKey> {
        self.mac_keys.get(row)
    }

    pub(super) fn knocker(&self, row: usize) -> Option<Knocker<'_>> {
        let old = self.old_row(row);
        let Member { name, policy, limiter, seal_key } = self.members.get(old.map_or(row, |old| old.member))?;
        let seal_key = old.map_or(seal_key, |old| &old.seal_key);
        Some(Knocker { name, policy: self.policies.get(*policy)?, limiter, seal_key })
    }

    /// The quotas that are not whole at this time.
    pub(super) fn spent(&self, now: Timestamp) -> impl Iterator<Item = Spent> + '_ {
        self.members.iter().filter_map(move |member| member.limiter.spent(&member.name, self.policies.get(member.policy)?.quota, now))
    }

    /// A row's hint for a step, whether its keys count then or not.
    pub(super) fn hint_of(&self, row: usize, step: Step) -> Option<Hint> {
        self.hint_keys.iter().nth(row).map(|key| key.hint(step))
    }

    pub(super) fn hint_keys(&self) -> HintKeys {
        self.hint_keys.clone()
    }

    fn old_row(&self, row: usize) -> Option<&OldRow> {
        self.old.get(row.checked_sub(self.members.len())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_proto::{GateName, KeyMaterial, SharedKey, UserKeys};

    #[test]
    fn each_user_has_his_own_name_and_policy_and_equal_policies_are_kept_once() {
        let gate = GateName::new("gate.example.org").unwrap();
        let user = |n: u8, services: &[&str]| User {
            keys: UserKeys::derive(&gate, &KeyMaterial::shared(&SharedKey::from_bytes([n; 32]))),
            policy: Policy::for_user(&format!("user-{n}"), services.iter().map(|service| service.parse().unwrap()).collect()),
        };
        let users = vec![user(0, &["tcp/22"]), user(1, &["tcp/80"]), user(2, &["tcp/22"])];
        let users = Users::new(users, &GateClock::default());
        assert_eq!((users.len(), users.policies.len(), users.hint_keys().len()), (3, 2, 3));
        for (n, service) in ["tcp/22", "tcp/80", "tcp/22"].into_iter().enumerate() {
            let Knocker { name, policy, .. } = users.knocker(n).unwrap();
            assert_eq!((name, &policy.services), (format!("user-{n}").as_str(), &vec![service.parse().unwrap()]));
        }
        assert!(users.mac_key(3).is_none() && users.knocker(3).is_none());
    }

    #[test]
    fn old_keys_are_a_row_behind_the_members_with_the_members_name_policy_and_quota() {
        let gate = GateName::new("gate.example.org").unwrap();
        let keys = |n: u8| UserKeys::derive(&gate, &KeyMaterial::shared(&SharedKey::from_bytes([n; 32])));
        let policy = Policy::for_user("alice", vec!["tcp/22".parse().unwrap()]);
        let mut users = Users::new(vec![User { keys: keys(1), policy }], &GateClock::default());
        let until = Timestamp::from_millis(1_000_000);
        users.add_old(OldKeys { user: 0, keys: keys(2), until }, Duration::from_secs(30));
        users.add_old(OldKeys { user: 7, keys: keys(3), until }, Duration::from_secs(30));
        assert_eq!((users.len(), users.hint_keys().len()), (1, 2), "keys of nobody are left out");
        let (now, old) = (users.knocker(0).unwrap(), users.knocker(1).unwrap());
        assert!(now.name == old.name && std::ptr::eq(now.policy, old.policy) && std::ptr::eq(now.limiter, old.limiter));
        assert!(!std::ptr::eq(now.seal_key, old.seal_key) && users.mac_key(1).is_some() && users.mac_key(2).is_none());
        let just_before = Timestamp::from_millis(999_999);
        assert!(users.counts(0, until) && users.counts(1, just_before) && !users.counts(1, until));
    }
}
