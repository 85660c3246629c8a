//! The text of a roster: TOML with users, policies, gates and groups of gates.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use postern_proto::{GateName, PublicKey};
use serde::Deserialize;
use toml::value::Datetime;

use super::division::{Malformed, divided};
use super::minisign::SIGNATURES_MAX;
use crate::model::policy::KEYS;
use crate::model::time::{self, Timestamp};
use crate::model::user_name::is_user_name;

/// What a public key must be.
const NO_KEY: &str = "is no key; write 32 bytes in base64, 44 characters";

/// The longest sealed secret, as text.
const SEALED_MAX: usize = 1024;

/// The content of a roster. [`Roster::parse`] checks it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roster {
    pub version: u64,
    until: Datetime,
    #[serde(default = "one")]
    pub signatures: usize,
    /// Groups of gates, by name.
    #[serde(default)]
    pub group: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    pub gate: BTreeMap<String, RosterGate>,
    #[serde(default)]
    pub policy: BTreeMap<String, toml::Table>,
    #[serde(default)]
    pub user: Vec<RosterUser>,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RosterGate {
    /// For which secrets are sealed.
    pub public_key: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RosterUser {
    pub name: String,
    pub policy: String,
    /// Gates and groups of gates.
    pub gates: Vec<String>,
    pub public_key: Option<String>,
    /// Secrets, sealed for each gate.
    #[serde(default)]
    pub sealed: BTreeMap<String, String>,
    pub(super) expires: Option<Datetime>,
    #[serde(default)]
    pub disabled: bool,
}

/// A piece with users.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Users {
    user: Vec<RosterUser>,
}

fn one() -> usize {
    1
}

fn malformed(what: impl Into<String>) -> Malformed {
    Malformed(what.into())
}

impl RosterUser {
    /// A user without a key.
    pub fn new(name: &str, policy: &str, gates: &[String]) -> Self {
        Self {
            name: name.to_owned(),
            policy: policy.to_owned(),
            gates: gates.to_vec(),
            public_key: None,
            sealed: BTreeMap::new(),
            expires: None,
            disabled: false,
        }
    }

    /// Sets when the user ends: a day or a time with its offset.
    pub fn set_expires(&mut self, expires: Option<Datetime>) {
        self.expires = expires;
    }
}

impl Roster {
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let mut users: Vec<RosterUser> = Vec::new();
        let mut roster = Self::each_user(text, |_, user| users.push(user))?;
        roster.user = users;
        let mut names = HashSet::new();
        let twice = roster.user.iter().find(|user| !names.insert(&user.name));
        if let Some(user) = twice {
            return Err(malformed(format!("user {} is there twice", user.name)));
        }
        Ok(roster)
    }

    /// Checks everything but whether names differ, and gives each user with the rest. The result has no users.
    pub(super) fn each_user(
        text: &str,
        mut take: impl FnMut(&Self, RosterUser),
    ) -> Result<Self, Malformed> {
        let (head, pieces) = divided(text);
        let mut roster: Self = head.read()?;
        let first = std::mem::take(&mut roster.user);
        roster.check()?;
        let mut take_all = |users: Vec<RosterUser>| {
            for user in users {
                roster
                    .check_user(&user)
                    .map_err(|what| malformed(format!("user {}: {what}", user.name)))?;
                take(&roster, user);
            }
            Ok(())
        };
        take_all(first)?;
        for piece in pieces {
            let Users { user } = piece.read()?;
            take_all(user)?;
        }
        Ok(roster)
    }

    /// From when on it counts no more; a whole second.
    pub fn until(&self) -> Timestamp {
        moment(&self.until).unwrap_or_default()
    }

    /// The gates that these names of gates and groups stand for.
    pub fn gates_of<'r>(&'r self, names: &'r [String]) -> BTreeSet<&'r str> {
        let of = |name: &'r String| match self.group.get(name) {
            Some(gates) => gates.as_slice(),
            None => std::slice::from_ref(name),
        };
        names.iter().flat_map(of).map(String::as_str).collect()
    }

    fn check(&self) -> Result<(), Malformed> {
        if self.version == 0 {
            return Err(malformed("version is 0; the first version is 1"));
        }
        if moment(&self.until).is_none() {
            let cure = "write until = 2027-01-31T00:00:00Z, with its offset";
            return Err(malformed(format!("until is no point in time; {cure}")));
        }
        if !(1..=SIGNATURES_MAX).contains(&self.signatures) {
            let what = format!("signatures must be 1 to {SIGNATURES_MAX}");
            return Err(malformed(what));
        }
        self.check_gates()?;
        for (name, policy) in &self.policy {
            let unknown = policy.keys().find(|key| !KEYS.contains(&key.as_str()));
            if let Some(key) = unknown {
                let known = KEYS.join(", ");
                let what = format!("policy {name} has the key {key}; a policy has {known}");
                return Err(malformed(what));
            }
            if !policy.contains_key("services") {
                let cure = "add services = [\"tcp/22\"]";
                return Err(malformed(format!("policy {name} has no services; {cure}")));
            }
            let expires = policy.get("expires");
            if expires.is_some_and(|time| time.as_datetime().and_then(moment).is_none()) {
                let what = "expires is neither a day nor a time with its offset";
                return Err(malformed(format!("policy {name}: {what}")));
            }
        }
        Ok(())
    }

    fn check_gates(&self) -> Result<(), Malformed> {
        for (name, gate) in &self.gate {
            if GateName::new(name).is_err() || name.contains(char::is_control) {
                let cure = "a gate name has 1 to 255 bytes and no control characters";
                return Err(malformed(format!("[gate] has a wrong name; {cure}")));
            }
            let key = gate.public_key.as_deref();
            if key.is_some_and(|key| PublicKey::from_base64(key).is_err()) {
                return Err(malformed(format!("gate {name}: public_key {NO_KEY}")));
            }
        }
        for (name, gates) in &self.group {
            if self.gate.contains_key(name) {
                return Err(malformed(format!("{name} is both a group and a gate")));
            }
            if let Some(gate) = gates.iter().find(|gate| !self.gate.contains_key(*gate)) {
                let what =
                    format!("group {name} names {gate}, for which there is no [gate.{gate:?}]");
                return Err(malformed(what));
            }
        }
        Ok(())
    }

    fn check_user(&self, user: &RosterUser) -> Result<(), String> {
        if !is_user_name(&user.name) {
            let cure = "write 1 to 64 letters, digits, dots, underscores, hyphens or @, the first a letter or digit";
            return Err(format!("this is no user name; {cure}"));
        }
        if !self.policy.contains_key(&user.policy) {
            return Err(format!("there is no [policy.{}]", user.policy));
        }
        let known = |name: &String| self.gate.contains_key(name) || self.group.contains_key(name);
        if let Some(name) = user.gates.iter().find(|name| !known(name)) {
            return Err(format!(
                "{name} is neither a gate nor a group of this roster"
            ));
        }
        if user.gates.is_empty() {
            return Err("gates is empty; name a gate or a group".to_owned());
        }
        if user
            .expires
            .is_some_and(|expires| moment(&expires).is_none())
        {
            return Err("expires is neither a day nor a time with its offset".to_owned());
        }
        let key = user.public_key.as_deref();
        if key.is_some_and(|key| PublicKey::from_base64(key).is_err()) {
            return Err(format!("public_key {NO_KEY}"));
        }
        match user.sealed.is_empty() {
            true if key.is_none() => return Err("it has neither public_key nor sealed".to_owned()),
            true => return Ok(()),
            false => {}
        }
        let gates = self.gates_of(&user.gates);
        if !gates
            .iter()
            .copied()
            .eq(user.sealed.keys().map(String::as_str))
        {
            let cure = "remove the user and add it again";
            return Err(format!(
                "secrets are sealed for other gates than its own; {cure}"
            ));
        }
        let is_text = |text: &String| {
            let base64 = |c: u8| c.is_ascii_alphanumeric() || b"+/=".contains(&c);
            text.len() <= SEALED_MAX && text.bytes().all(base64)
        };
        if !user.sealed.values().all(is_text) {
            let cure = "remove the user and add it again";
            return Err(format!(
                "a sealed secret is not base64, or too long; {cure}"
            ));
        }
        Ok(())
    }
}

/// A time with its offset, or the start of a day in UTC.
pub(super) fn moment(time: &Datetime) -> Option<Timestamp> {
    let moment = time::parse_time_or_day(&time.to_string()).ok()?;
    Some(Timestamp::from_millis(moment.as_millis() / 1000 * 1000))
}
