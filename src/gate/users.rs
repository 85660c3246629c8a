//! The gate's users: their keys, their names and what each may open. Decides nothing.
//!
//! Laid out for the processor's caches, for any packet may be of any user: keys in one row, and policies that differ
//! only in the user's name kept once.

use std::collections::HashMap;

use postern_proto::{HintKey, UserKeys};

use super::User;
use crate::policy::{Policy, Quota};

#[derive(Debug)]
pub(super) struct Users {
    keys: Vec<UserKeys>,
    /// In the order of `keys`.
    members: Vec<Member>,
    /// Without names.
    policies: Vec<Policy>,
}

#[derive(Debug)]
struct Member {
    name: Box<str>,
    policy: usize,
}

impl Users {
    pub(super) fn new(users: Vec<User>) -> Self {
        let mut all = Self { keys: Vec::with_capacity(users.len()), members: Vec::with_capacity(users.len()), policies: Vec::new() };
        let mut known: HashMap<Policy, usize> = HashMap::new();
        for User { keys, mut policy } in users {
            let name = std::mem::take(&mut policy.user).into_boxed_str();
            let policy = *known.entry(policy).or_insert_with_key(|policy| {
                all.policies.push(policy.clone());
                all.policies.len().saturating_sub(1)
            });
            all.keys.push(keys);
            all.members.push(Member { name, policy });
        }
        all
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn keys(&self, user: usize) -> Option<&UserKeys> {
        self.keys.get(user)
    }

    /// The user's name, and what the user may open. The name in the policy is empty.
    pub(super) fn rights(&self, user: usize) -> Option<(&str, &Policy)> {
        let member = self.members.get(user)?;
        Some((&member.name, self.policies.get(member.policy)?))
    }

    pub(super) fn hint_keys(&self) -> Vec<HintKey> {
        self.keys.iter().map(UserKeys::hint_key).collect()
    }

    /// In the order of the users.
    pub(super) fn quotas(&self) -> impl Iterator<Item = Quota> + '_ {
        self.members.iter().filter_map(|member| self.policies.get(member.policy)).map(|policy| policy.quota)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_proto::{GateName, KeyMaterial, SharedKey};

    #[test]
    fn each_user_has_his_own_name_and_policy_and_equal_policies_are_kept_once() {
        let gate = GateName::new("gate.example.org").unwrap();
        let user = |n: u8, services: &[&str]| User {
            keys: UserKeys::derive(&gate, &KeyMaterial::shared(&SharedKey::from_bytes([n; 32]))),
            policy: Policy::for_user(&format!("user-{n}"), services.iter().map(|service| service.parse().unwrap()).collect()),
        };
        let users = Users::new(vec![user(0, &["tcp/22"]), user(1, &["tcp/80"]), user(2, &["tcp/22"])]);
        assert_eq!((users.len(), users.policies.len(), users.quotas().count(), users.hint_keys().len()), (3, 2, 3, 3));
        for (n, service) in ["tcp/22", "tcp/80", "tcp/22"].into_iter().enumerate() {
            let (name, policy) = users.rights(n).unwrap();
            assert_eq!((name, &policy.services), (format!("user-{n}").as_str(), &vec![service.parse().unwrap()]));
        }
        assert!(users.keys(3).is_none() && users.rights(3).is_none());
    }
}
