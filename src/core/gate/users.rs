//! The gate's users: their keys, their policies and how much of each quota is used. Decides nothing.

use std::collections::HashMap;
use std::time::Duration;

use postern_proto::{CodeKey, UserKeys};

use super::code::Codes;
use super::hints::HintKeys;
use super::quota::{GateClock, Limiter, Meter, Spent};
use crate::model::policy::Policy;
use crate::model::time::Timestamp;

/// A user as the gate knows one.
#[derive(Debug)]
pub struct User {
    pub keys: UserKeys,
    pub policy: Policy,
}

/// Rotated-out keys of a user. They are valid until a time.
#[derive(Debug)]
pub struct OldKeys {
    /// The user's index among the gate's users.
    pub user: usize,
    pub keys: UserKeys,
    /// Expiry, by the gate's clock.
    pub until: Timestamp,
}

#[derive(Debug)]
pub(super) struct Users {
    /// The members' present keys in the order of the members, then old keys.
    rows: Vec<KeyRow>,
    members: Vec<Member>,
}

#[derive(Debug)]
struct KeyRow {
    keys: UserKeys,
    member: usize,
    until: Option<Timestamp>,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) number: usize,
    pub(super) policy: Policy,
    pub(super) limiter: Limiter,
    pub(super) meter: Meter,
    pub(super) codes: Option<Codes>,
}

impl Member {
    fn new(number: usize, policy: Policy, clock: &GateClock) -> Self {
        Self {
            number,
            limiter: Limiter::new(policy.quota, clock),
            policy,
            meter: Meter::default(),
            codes: None,
        }
    }
}

impl Users {
    pub(super) fn new(users: Vec<User>, clock: &GateClock) -> Self {
        let (rows, members) = users
            .into_iter()
            .enumerate()
            .map(|(member, User { keys, policy })| {
                let row = KeyRow {
                    keys,
                    member,
                    until: None,
                };
                (row, Member::new(member, policy, clock))
            })
            .unzip();
        Self { rows, members }
    }

    /// Adds users who have no keys of ours.
    pub(super) fn add_without_keys(
        &mut self,
        policies: impl IntoIterator<Item = Policy>,
        clock: &GateClock,
    ) {
        for policy in policies {
            let number = self.members.len();
            self.members.push(Member::new(number, policy, clock));
        }
    }

    /// Adds a rotated-out key; ignores one whose user does not exist.
    pub(super) fn add_old(&mut self, OldKeys { user, keys, until }: OldKeys) {
        if user < self.members.len() {
            self.rows.push(KeyRow {
                keys,
                member: user,
                until: Some(until),
            });
        }
    }

    pub(super) fn add_codes(&mut self, codes: impl IntoIterator<Item = Option<CodeKey>>) {
        for (member, code) in self.members.iter_mut().zip(codes) {
            member.codes = code.map(Codes::new);
        }
    }

    pub(super) fn member(&self, number: usize) -> Option<&Member> {
        self.members.get(number)
    }

    pub(super) fn numbers(&self) -> HashMap<&str, usize> {
        self.members
            .iter()
            .map(|member| (member.policy.user.as_str(), member.number))
            .collect()
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// The keys of a row that is valid at this time, and their user.
    pub(super) fn valid_at(&self, now: Timestamp, row: usize) -> Option<(&UserKeys, &Member)> {
        let row = self.rows.get(row)?;
        let is_valid = row.until.is_none_or(|until| now < until);
        let member = self.members.get(row.member)?;
        is_valid.then_some((&row.keys, member))
    }

    pub(super) fn spent(&self, now: Timestamp) -> impl Iterator<Item = Spent> + '_ {
        self.members.iter().filter_map(move |member| {
            let Policy { user, quota, .. } = &member.policy;
            member.meter.spent(user, *quota, now)
        })
    }

    pub(super) fn hint_keys(&self, window: Duration) -> HintKeys {
        let mut keys = HintKeys::default();
        for row in &self.rows {
            let key = row.keys.hint_key().clone();
            match row.until {
                None => keys.push(key),
                Some(until) => keys.push_old(key, until, window),
            }
        }
        keys
    }
}
