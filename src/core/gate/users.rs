//! The gate's users: their keys, their policies and how much of each quota is used. Decides nothing.
//!
//! A user costs a root key, a hint key and a policy of 32 bytes. What only users who knock need is made when they do.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use postern_proto::{CodeKey, HintKey, KeyMaterial, RootKey, UserKeys};

use super::code::Codes;
use super::hints::HintKeys;
use super::key_cache::KeyCache;
use super::quota::{GateClock, Limiter, Meter, QuotaLeft};
use crate::model::policies::{NameIndex, Policies};
use crate::model::policy::Policy;
use crate::model::settings::GateNames;
use crate::model::time::Timestamp;

/// A user as the gate knows one.
#[derive(Debug)]
pub struct User {
    pub keys: RootKey,
    pub policy: Policy,
}

/// Rotated-out keys of a user. They are valid until a time.
#[derive(Debug)]
pub struct OldKeys {
    /// The user's index among the gate's users.
    pub user: usize,
    pub keys: RootKey,
    /// Expiry, by the gate's clock.
    pub until: Timestamp,
}

/// What the gate derives from the keys of users when it loads them.
#[derive(Debug, Default)]
pub struct KeyRows {
    roots: Vec<RootKey>,
    hints: Vec<HintKey>,
}

#[derive(Debug)]
pub(super) struct Users {
    policies: Policies,
    /// The users' present keys in their order, then old keys.
    roots: Vec<RootKey>,
    hints: Arc<Vec<HintKey>>,
    old: Vec<(usize, Timestamp)>,
    cache: KeyCache,
    /// Of users who were admitted.
    quotas: HashMap<usize, (Limiter, Meter)>,
    codes: HashMap<usize, Codes>,
}

/// One user.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member<'a> {
    pub(super) number: usize,
    pub(super) policy: &'a Policy,
    pub(super) codes: Option<&'a Codes>,
}

impl KeyRows {
    /// Those of some users: their policies, and the key of each. Not inlined, so that the caller can wipe its stack.
    #[inline(never)]
    pub fn derive(names: &GateNames, policies: &[Policy], keys: &[KeyMaterial]) -> Self {
        let mut rows = Self::with_room(keys.len());
        for (policy, key) in policies.iter().zip(keys) {
            rows.push(RootKey::extract(names.of(policy), key));
        }
        rows
    }

    /// With this room a key never moves, and leaves no copy behind.
    fn with_room(keys: usize) -> Self {
        Self {
            roots: Vec::with_capacity(keys),
            hints: Vec::with_capacity(keys),
        }
    }

    fn push(&mut self, root: RootKey) {
        self.hints.push(root.hint_key());
        self.roots.push(root);
    }
}

impl FromIterator<RootKey> for KeyRows {
    fn from_iter<I: IntoIterator<Item = RootKey>>(roots: I) -> Self {
        let mut rows = Self::default();
        roots.into_iter().for_each(|root| rows.push(root));
        rows
    }
}

impl Users {
    /// `parts` are those of the first policies, in their order, in any number of parts. Users without keys of ours follow.
    pub(super) fn new(policies: Policies, parts: Vec<KeyRows>, old: Vec<OldKeys>) -> Self {
        let keys: usize = parts.iter().map(|part| part.roots.len()).sum();
        let mut rows = KeyRows::with_room(keys.saturating_add(old.len()));
        for part in parts {
            rows.roots.extend_from_slice(&part.roots);
            rows.hints.extend_from_slice(&part.hints);
        }
        let mut ends = Vec::new();
        for OldKeys { user, keys, until } in old {
            if user < policies.len() {
                rows.push(keys);
                ends.push((user, until));
            }
        }
        Self {
            policies,
            roots: rows.roots,
            hints: Arc::new(rows.hints),
            old: ends,
            cache: KeyCache::default(),
            quotas: HashMap::new(),
            codes: HashMap::new(),
        }
    }

    pub(super) fn add_codes(&mut self, codes: impl IntoIterator<Item = (usize, CodeKey)>) {
        let codes = codes.into_iter();
        self.codes = codes
            .map(|(number, code)| (number, Codes::new(code)))
            .collect();
    }

    pub(super) fn member(&self, number: usize) -> Option<Member<'_>> {
        Some(Member {
            number,
            policy: self.policies.get(number)?,
            codes: self.codes.get(&number),
        })
    }

    /// Finds users by name.
    pub(super) fn numbers(&self) -> impl Fn(&str) -> Option<usize> + use<> {
        let policies = self.policies.clone();
        let index = NameIndex::of(&policies);
        move |name| index.find(&policies, name)
    }

    pub(super) fn len(&self) -> usize {
        self.policies.len()
    }

    /// The user whose key a row is, if it is valid at this time.
    pub(super) fn valid_at(&self, now: Timestamp, row: usize) -> Option<usize> {
        let present = self.roots.len().saturating_sub(self.old.len());
        match row.checked_sub(present) {
            // Present keys are in the order of the policies, and users without keys of ours come last.
            None => Some(row),
            Some(old) => {
                let (user, until) = self.old.get(old)?;
                (now < *until).then_some(*user)
            }
        }
    }

    /// The keys of a row. Derives them if this row was not asked for lately, without an allocation.
    pub(super) fn keys(&mut self, row: usize) -> Option<&UserKeys> {
        self.cache.get(row, self.roots.get(row)?)
    }

    /// Counts one knock of a user at this time. False if the quota is used up.
    pub(super) fn admit(&mut self, number: usize, now: Timestamp, clock: &GateClock) -> bool {
        let Some(policy) = self.policies.get(number) else {
            return false;
        };
        let quota = policy.quota;
        let new = || (Limiter::new(quota, clock), Meter::default());
        let (limiter, meter) = self.quotas.entry(number).or_insert_with(new);
        let is_admitted = limiter.admit();
        if is_admitted {
            meter.count(quota, now);
        }
        is_admitted
    }

    pub(super) fn quotas_left(&self, now: Timestamp) -> impl Iterator<Item = QuotaLeft> + '_ {
        self.quotas.iter().filter_map(move |(number, (_, meter))| {
            let policy = self.policies.get(*number)?;
            meter.left(&policy.user, policy.quota, now)
        })
    }

    pub(super) fn hint_keys(&self, window: Duration) -> HintKeys {
        let ends = self.old.iter().map(|(_, until)| *until);
        HintKeys::new(Arc::clone(&self.hints), ends, window)
    }
}
