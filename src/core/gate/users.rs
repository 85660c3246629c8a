//! The gate's users: their keys, their names, what each may open and how often. Decides nothing.
//!
//! Laid out for the processor's caches, for any packet may be of any user: what is needed up to the mac in one place, all else that
//! is needed of one user in another, and policies that differ only in the user's name kept once.

use std::collections::HashMap;
use std::time::Duration;

use postern_proto::{CodeKey, Hint, MacKey, SealKey, Step};

use super::code::Codes;
use super::hints::HintKeys;
use super::quota::{GateClock, Limiter, Meter, Spent};
use super::{OldKeys, User};
use crate::model::policy::Policy;
use crate::model::time::Timestamp;

#[derive(Debug)]
pub(super) struct Users {
    hint_keys: HintKeys,
    /// The members' present keys in the order of the members, then old ones.
    rows: Vec<Row>,
    members: Vec<Member>,
    /// Of the old rows.
    old_seal_keys: Vec<SealKey>,
    /// Without names; a member knows its place here.
    policies: Vec<Policy>,
}

/// What is needed of a set of keys until the mac is right: one line of the cache.
#[derive(Debug)]
#[repr(align(64))]
struct Row {
    mac_key: MacKey,
    member: usize,
    /// Of keys of before: when they stop to count. All else is the member's, the quota too.
    until: Option<Timestamp>,
}

/// What is needed of a user once the mac is right: a pair of lines that the processor reads together.
#[derive(Debug)]
#[repr(align(128))]
struct Member {
    seal_key: SealKey,
    name: Box<str>,
    policy: usize,
    limiter: Limiter,
    meter: Meter,
    codes: Option<Box<Codes>>,
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
    /// For a user who must send one-time codes.
    pub(super) codes: Option<&'a Codes>,
}

impl Users {
    pub(super) fn new(users: Vec<User>, clock: &GateClock) -> Self {
        let count = users.len();
        let mut all = Self {
            hint_keys: HintKeys::with_capacity(count),
            rows: Vec::with_capacity(count),
            members: Vec::with_capacity(count),
            old_seal_keys: Vec::new(),
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
            all.rows.push(Row {
                mac_key,
                member: all.members.len(),
                until: None,
            });
            all.members.push(Member {
                seal_key,
                name,
                policy,
                limiter,
                meter: Meter::default(),
                codes: None,
            });
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
        self.rows.push(Row {
            mac_key,
            member: user,
            until: Some(until),
        });
        self.old_seal_keys.push(seal_key);
    }

    /// Secrets of one-time codes, in the order of the users.
    pub(super) fn add_codes(&mut self, codes: impl IntoIterator<Item = Option<CodeKey>>) {
        for (member, code) in self.members.iter_mut().zip(codes) {
            member.codes = code.map(Codes::new).map(Box::new);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// How many sets of keys there are.
    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Until when this row's keys count; `None`: for ever.
    pub(super) fn until(&self, row: usize) -> Option<Timestamp> {
        self.rows.get(row)?.until
    }

    /// Whether this row's keys count at this time.
    pub(super) fn counts(&self, row: usize, now: Timestamp) -> bool {
        self.until(row).is_none_or(|until| now < until)
    }

    pub(super) fn mac_key(&self, row: usize) -> Option<&MacKey> {
        self.rows.get(row).map(|row| &row.mac_key)
    }

    pub(super) fn knocker(&self, row: usize) -> Option<Knocker<'_>> {
        let Member {
            seal_key,
            name,
            policy,
            limiter,
            meter,
            codes,
        } = self.members.get(self.rows.get(row)?.member)?;
        let old_seal_key = row
            .checked_sub(self.members.len())
            .and_then(|old| self.old_seal_keys.get(old));
        let policy = self.policies.get(*policy)?;
        Some(Knocker {
            name,
            policy,
            limiter,
            meter,
            seal_key: old_seal_key.unwrap_or(seal_key),
            codes: codes.as_deref(),
        })
    }

    /// Reads ahead: a row that is in the processor's caches has the key for the mac there, too.
    pub(super) fn near(&self, row: usize) -> usize {
        self.rows.get(row).map_or(0, |row| row.member)
    }

    /// The quotas that are not whole at this time.
    pub(super) fn spent(&self, now: Timestamp) -> impl Iterator<Item = Spent> + '_ {
        self.members.iter().filter_map(move |member| {
            member
                .meter
                .spent(&member.name, self.policies.get(member.policy)?.quota, now)
        })
    }

    /// A row's hint for a step, whether its keys count then or not.
    pub(super) fn hint_of(&self, row: usize, step: Step) -> Option<Hint> {
        self.hint_keys.iter().nth(row).map(|key| key.hint(step))
    }

    pub(super) fn hint_keys(&self) -> HintKeys {
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
            policy: Policy::for_user(
                &format!("user-{n}"),
                services
                    .iter()
                    .map(|service| service.parse().unwrap())
                    .collect(),
            ),
        };
        let users = vec![
            user(0, &["tcp/22"]),
            user(1, &["tcp/80"]),
            user(2, &["tcp/22"]),
        ];
        let users = Users::new(users, &GateClock::default());
        assert_eq!(
            (users.len(), users.policies.len(), users.hint_keys().len()),
            (3, 2, 3)
        );
        for (n, service) in ["tcp/22", "tcp/80", "tcp/22"].into_iter().enumerate() {
            let Knocker { name, policy, .. } = users.knocker(n).unwrap();
            assert_eq!(
                (name, &policy.services),
                (
                    format!("user-{n}").as_str(),
                    &vec![service.parse().unwrap()]
                )
            );
        }
        assert!(users.mac_key(3).is_none() && users.knocker(3).is_none());
    }

    #[test]
    fn old_keys_are_a_row_behind_the_members_with_the_members_name_policy_and_quota() {
        let gate = GateName::new("gate.example.org").unwrap();
        let keys =
            |n: u8| UserKeys::derive(&gate, &KeyMaterial::shared(&SharedKey::from_bytes([n; 32])));
        let policy = Policy::for_user("alice", vec!["tcp/22".parse().unwrap()]);
        let mut users = Users::new(
            vec![User {
                keys: keys(1),
                policy,
            }],
            &GateClock::default(),
        );
        let until = Timestamp::from_millis(1_000_000);
        users.add_old(
            OldKeys {
                user: 0,
                keys: keys(2),
                until,
            },
            Duration::from_secs(30),
        );
        users.add_old(
            OldKeys {
                user: 7,
                keys: keys(3),
                until,
            },
            Duration::from_secs(30),
        );
        assert_eq!(
            (users.len(), users.hint_keys().len()),
            (1, 2),
            "keys of nobody are left out"
        );
        let (now, old) = (users.knocker(0).unwrap(), users.knocker(1).unwrap());
        assert!(
            now.name == old.name
                && std::ptr::eq(now.policy, old.policy)
                && std::ptr::eq(now.limiter, old.limiter)
        );
        assert!(
            !std::ptr::eq(now.seal_key, old.seal_key)
                && users.mac_key(1).is_some()
                && users.mac_key(2).is_none()
        );
        let just_before = Timestamp::from_millis(999_999);
        assert!(users.counts(0, until) && users.counts(1, just_before) && !users.counts(1, until));
    }
}
