//! One gate's part of a roster, in the grammar of `users.d`, and the secrets in it.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern_proto::{KeyError, PrivateKey, PublicKey, open_text, seal_text};
use zeroize::Zeroizing;

use super::text::{Roster, RosterUser, moment};
use crate::model::time::Timestamp;

const SEALED: &str = "sealed = ";
const NAME: &str = "name = ";

/// Secrets that can be sealed, as keys of a user's table.
const SECRETS: [&str; 3] = ["key", "psk", "totp"];

/// A gate's part of a roster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Part {
    /// `[[user]]` tables; sealed secrets are still sealed.
    pub users: String,
    pub count: usize,
    /// The services that are closed for its users, as TOML lines.
    pub policies: Vec<String>,
}

/// Why a part cannot be used at this gate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealFault {
    #[error("the secret of user {0} is not sealed for this gate's private key")]
    OtherKey(String),
    #[error("user {0} has a sealed secret, and this gate has no private key")]
    NoKey(String),
}

impl Roster {
    /// What this gate needs of it. Nothing in it counts after `end`.
    pub fn part(&self, gate: &str, end: Timestamp) -> Part {
        let mut writer = PartWriter::new(gate, Some(end));
        self.user.iter().for_each(|user| writer.add(self, user));
        writer.part
    }
}

/// Writes one gate's part.
pub(super) struct PartWriter<'g> {
    gate: &'g str,
    /// When nothing counts any more, if that is before the roster's end.
    end: Option<Timestamp>,
    /// The policies that users of this gate have.
    policies: BTreeMap<String, (String, Timestamp)>,
    pub(super) part: Part,
}

impl<'g> PartWriter<'g> {
    pub(super) fn new(gate: &'g str, end: Option<Timestamp>) -> Self {
        Self {
            gate,
            end,
            policies: BTreeMap::new(),
            part: Part::default(),
        }
    }

    /// Adds a user, if it is one of this gate. `roster` has everything but the users.
    pub(super) fn add(&mut self, roster: &Roster, user: &RosterUser) {
        let is_here = user.gates.iter().any(|name| match roster.group.get(name) {
            Some(gates) => gates.iter().any(|one| one == self.gate),
            None => name == self.gate,
        });
        let Some(policy) = roster.policy.get(&user.policy).filter(|_| is_here) else {
            return;
        };
        if !self.policies.contains_key(&user.policy) {
            let until = roster.until();
            let end = self.end.map_or(until, |end| end.min(until));
            let own = policy.get("expires").and_then(|time| time.as_datetime());
            let end = own.and_then(moment).map_or(end, |own| own.min(end));
            let lines = policy.iter().filter(|(key, _)| *key != "expires");
            let lines = lines.map(|(key, value)| format!("{key} = {value}\n"));
            let lines = (lines.collect::<String>(), end);
            self.policies.insert(user.policy.clone(), lines);
            self.part.policies.push(closed_by(policy));
        }
        let Some((lines, end)) = self.policies.get(&user.policy) else {
            return;
        };
        let own = user.expires.as_ref().and_then(moment);
        let end = own.map_or(*end, |own| own.min(*end));
        write_user(&mut self.part.users, user, self.gate, lines, end);
        self.part.count = self.part.count.saturating_add(1);
    }
}

fn write_user(text: &mut String, user: &RosterUser, gate: &str, policy: &str, end: Timestamp) {
    text.push_str("[[user]]\n");
    // The names are of few characters, and the secrets base64: none needs an escape.
    text.push_str(&format!(
        "{NAME}\"{}\"\n{policy}expires = {end}\n",
        user.name
    ));
    if let Some(key) = &user.public_key {
        text.push_str(&format!("public_key = \"{key}\"\n"));
    }
    if let Some(sealed) = user.sealed.get(gate) {
        text.push_str(&format!("{SEALED}\"{sealed}\"\n"));
    }
    if user.disabled {
        text.push_str("disabled = true\n");
    }
}

/// What a policy keeps closed for everyone without a grant.
fn closed_by(policy: &toml::Table) -> String {
    let keys = ["services", "targets"].into_iter();
    let lines = keys.filter_map(|key| Some(format!("{key} = {}\n", policy.get(key)?)));
    lines.collect()
}

/// Whether a part has users with key pairs or sealed secrets, for which the gate needs its private key.
pub fn needs_gate_key(part: &str) -> bool {
    let mut lines = part.lines();
    lines.any(|line| line.starts_with("public_key = ") || line.starts_with(SEALED))
}

pub fn has_sealed(part: &str) -> bool {
    part.lines().any(|line| line.starts_with(SEALED))
}

/// The text of a part with the secrets opened, in one buffer that is wiped.
pub fn opened(
    part: &str,
    gate: &str,
    key: Option<&PrivateKey>,
) -> Result<Zeroizing<String>, SealFault> {
    // A secret is shorter than its sealed form, so the buffer never grows.
    let mut text = Zeroizing::new(String::with_capacity(part.len()));
    let mut name = "";
    for line in part.split_inclusive('\n') {
        if let Some(named) = line.strip_prefix(NAME) {
            name = named.trim_end().trim_matches('"');
        }
        let Some(sealed) = line.strip_prefix(SEALED) else {
            text.push_str(line);
            continue;
        };
        let key = key.ok_or_else(|| SealFault::NoKey(name.to_owned()))?;
        let sealed = STANDARD.decode(sealed.trim_end().trim_matches('"')).ok();
        let secret = sealed.and_then(|sealed| open_text(key, &context(gate, name), &sealed));
        let secret = secret
            .as_deref()
            .and_then(|secret| std::str::from_utf8(secret).ok());
        let secret = secret.filter(|secret| secret.lines().all(is_secret));
        text.push_str(secret.ok_or_else(|| SealFault::OtherKey(name.to_owned()))?);
    }
    Ok(text)
}

/// Seals secrets of a user for one gate. `secrets` are TOML lines such as `key = "…"`. `fresh` is used for nothing else.
pub fn sealed(
    gate: &str,
    key: &PublicKey,
    user: &str,
    secrets: &str,
    fresh: &PrivateKey,
) -> Result<String, KeyError> {
    let sealed = seal_text(key, fresh, &context(gate, user), secrets.as_bytes())?;
    Ok(STANDARD.encode(sealed))
}

/// Both have no line break, so that no other pair gives the same bytes.
fn context(gate: &str, user: &str) -> Vec<u8> {
    format!("postern roster\n{gate}\n{user}").into_bytes()
}

/// A line of a sealed secret can say nothing but a secret.
fn is_secret(line: &str) -> bool {
    let Some((key, value)) = line.split_once(" = ") else {
        return false;
    };
    let inner = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let base = |c: u8| c.is_ascii_alphanumeric() || b"+/=".contains(&c);
    match inner {
        Some(inner) => SECRETS.contains(&key) && inner.bytes().all(base),
        None => key == "totp_digits" && value.bytes().all(|c| c.is_ascii_digit()),
    }
}
