//! The gate's users: their keys, their names, what each may open and how often. Decides nothing.
//!
//! Laid out for the processor's caches, for any packet may be of any user: the keys for macs in one row, what else is
//! needed of one user in one place, and policies that differ only in the user's name kept once.

use std::collections::HashMap;

use postern_proto::{Hint, HintKey, MacKey, SealKey, Step};

use super::User;
use super::quota::{GateClock, Limiter, Meter, Spent};
use crate::policy::Policy;
use crate::time::Timestamp;

#[derive(Debug)]
pub(super) struct Users {
    hint_keys: Vec<HintKey>,
    mac_keys: Vec<MacKey>,
    members: Vec<Member>,
    meters: Vec<Meter>,
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

/// Who knocks, once the mac has said so.
#[derive(Debug, Clone, Copy)]
pub(super) struct Knocker<'a> {
    pub(super) name: &'a str,
    /// The name in it is empty.
    pub(super) policy: &'a Policy,
    pub(super) limiter: &'a Limiter,
    pub(super) meter: &'a Meter,
    pub(super) seal_key: &'a SealKey,
}

impl Users {
    pub(super) fn new(users: Vec<User>, clock: &GateClock) -> Self {
        let count = users.len();
        let mut all = Self {
            hint_keys: Vec::with_capacity(count),
            mac_keys: Vec::with_capacity(count),
            members: Vec::with_capacity(count),
            meters: Vec::with_capacity(count),
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
            all.meters.push(Meter::default());
        }
        all
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn mac_key(&self, user: usize) -> Option<&MacKey> {
        self.mac_keys.get(user)
    }

    pub(super) fn knocker(&self, user: usize) -> Option<Knocker<'_>> {
        let Member { name, policy, limiter, seal_key } = self.members.get(user)?;
        Some(Knocker { name, policy: self.policies.get(*policy)?, limiter, meter: self.meters.get(user)?, seal_key })
    }

    /// The quotas that are not whole at this time.
    pub(super) fn spent(&self, now: Timestamp) -> impl Iterator<Item = Spent> + '_ {
        let members = self.members.iter().zip(&self.meters);
        members.filter_map(move |(member, meter)| meter.spent(&member.name, self.policies.get(member.policy)?.quota, now))
    }

    /// A user's hint for a step.
    pub(super) fn hint_of(&self, user: usize, step: Step) -> Option<Hint> {
        self.hint_keys.get(user).map(|key| key.hint(step))
    }

    pub(super) fn hint_keys(&self) -> Vec<HintKey> {
        self.hint_keys.clone()
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
}
