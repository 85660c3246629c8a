//! One user's table, read on any thread. What all users must agree on is checked in `user_table`.

use std::hash::{BuildHasher, RandomState};

use postern_proto::{KeyMaterial, PrivateKey};
use toml::de::{DeTable, DeValue};

use super::config_text::ConfigText;
use super::fields::{Fields, wrong_type};
use super::fwknop_user;
use super::gate::GateKey;
use super::how::How;
use super::key::{KeyFiles, UserKey};
use super::listed::{Credential, Listed, ReadUser};
use super::main_file::MainFile;
use super::place::Place;
use super::problem::refusal;
use super::same_rules::SameRules;
use super::sequence_user;
use super::user;
use super::user_keys;
use crate::model::kept_name::UserName;
use crate::model::policy::Policy;
use crate::model::settings::CaptureKind;

/// What every user is read with.
pub(super) struct EntryReader<'a, 'm> {
    pub(super) main: Option<&'m MainFile>,
    pub(super) key_files: &'m KeyFiles<'a>,
    pub(super) listing: bool,
    keeps_keys: bool,
    hashers: [RandomState; 2],
}

/// Equal for equal texts, and only this process can make it: so no key is kept.
pub(super) type Fingerprint = [u64; 2];

/// A user's table. It may have problems, but its name and its keys must differ from those of all others nevertheless.
pub(super) struct Entry<'a> {
    pub(super) start: Place<'a>,
    pub(super) name: Option<(UserName, Fingerprint, Place<'a>)>,
    pub(super) key: Option<Key<'a>>,
    pub(super) old_key: Option<Key<'a>>,
    /// Of a user of fwknop: the key that must differ, and where it is.
    pub(super) fwknop: Option<(Fingerprint, Place<'a>)>,
    pub(super) sequence: Place<'a>,
    /// `None` if something was refused.
    pub(super) user: Option<ReadUser>,
    pub(super) listed: Option<Listed>,
}

/// A key of ours.
pub(super) struct Key<'a> {
    pub(super) fingerprint: Fingerprint,
    pub(super) place: Place<'a>,
    pub(super) material: Material,
}

pub(super) enum Material {
    Made(KeyMaterial),
    /// It could be made, and nobody keeps it.
    Checked,
    Refused,
    /// A key pair, and the gate has no private key.
    NoGateKey,
}

impl<'a, 'm> EntryReader<'a, 'm> {
    pub(super) fn new(main: Option<&'m MainFile>, key_files: &'m KeyFiles<'a>, how: How) -> Self {
        Self {
            main,
            key_files,
            listing: how.listing,
            keeps_keys: how.keeps_keys,
            hashers: [RandomState::new(), RandomState::new()],
        }
    }

    pub(super) fn read_list(&self, file: &ConfigText<'a>, values: &DeTable<'_>) -> Vec<Entry<'a>> {
        let Some(value) = values.get("user") else {
            return Vec::new();
        };
        let at = value.span().start;
        let DeValue::Array(users) = value.get_ref() else {
            let wanted = "[[user]] with two brackets";
            file.refuse(at, wrong_type("user", wanted, value.get_ref()));
            return Vec::new();
        };
        // With room for all from the start, keys never move and leave no copies behind.
        let mut entries = Vec::with_capacity(users.len());
        let mut rules = SameRules::default();
        for user in users.iter() {
            let at = user.span().start;
            match user.get_ref() {
                DeValue::Table(table) => {
                    let fields = Fields::new(file, "[[user]]", table, at);
                    entries.push(self.read_user(file, &fields, false, &mut rules));
                }
                other => file.refuse(at, wrong_type("a user", "a table, [[user]]", other)),
            }
        }
        entries
    }

    /// Reads a file of `users.d`: `[[user]]` tables, or the keys of one user without a table.
    pub(super) fn read_users_file(
        &self,
        file: &ConfigText<'a>,
        values: &DeTable<'_>,
    ) -> Vec<Entry<'a>> {
        if values.contains_key("user") {
            Fields::new(file, "a file of users", values, 0).only(&["user"]);
            self.read_list(file, values)
        } else if !values.is_empty() {
            let fields = Fields::new(file, "a user", values, 0);
            vec![self.read_user(file, &fields, true, &mut SameRules::default())]
        } else {
            Vec::new()
        }
    }

    fn read_user(
        &self,
        file: &ConfigText<'a>,
        fields: &Fields<'_>,
        own_file: bool,
        rules: &mut SameRules,
    ) -> Entry<'a> {
        let mut policy = user::policy(fields, self.main);
        policy.iter_mut().for_each(|policy| rules.share(policy));
        let credential = self.credential(file, fields, policy.as_ref());
        let old = user_keys::previous_key(fields);
        let code = user_keys::code_key(fields);
        let disabled = fields.flag("disabled").unwrap_or_default();
        let place = |name: &str| Place::of(file, fields.at(name));
        let name = policy.as_ref().map(|policy| {
            let fingerprint = self.fingerprint(policy.user.as_bytes());
            (policy.user.clone(), fingerprint, place("name"))
        });
        let key = match &credential {
            Some(Credential::Key(key)) => {
                let mut names = ["key", "key_file", "public_key"].into_iter();
                let name = names.find(|name| fields.has(name)).unwrap_or_default();
                Some(self.key(file, fields.at(name), key))
            }
            _ => None,
        };
        let old_key = old.as_ref().map(|old| {
            let name = match old.key {
                UserKey::Shared(_) => "old_key",
                UserKey::Pair(..) => "old_public_key",
            };
            self.key(file, fields.at(name), &old.key)
        });
        let fwknop = match &credential {
            Some(Credential::Fwknop(keys)) => Some((self.fingerprint(&keys.own), place("fwknop"))),
            _ => None,
        };
        let user = policy.zip(credential).map(|(policy, key)| ReadUser {
            policy,
            key,
            code,
            old,
            disabled,
            own_file,
        });
        let listed = user.as_ref().filter(|_| self.listing);
        Entry {
            start: Place::of(file, fields.start),
            name,
            key,
            old_key,
            fwknop,
            sequence: place("sequence"),
            listed: listed.map(|user| Listed::of(fields, user)),
            user,
        }
    }

    fn credential(
        &self,
        file: &ConfigText<'a>,
        fields: &Fields<'_>,
        policy: Option<&Policy>,
    ) -> Option<Credential> {
        if fields.has("sequence") || fields.has("sequences_file") {
            let gate = self.main.and_then(MainFile::gate);
            return sequence_user::read(fields, policy, gate, self.key_files)
                .map(Credential::Sequence);
        }
        sequence_user::refuse_without(fields);
        if self
            .main
            .and_then(MainFile::gate)
            .is_some_and(|gate| gate.capture == CaptureKind::None)
        {
            let what = "this user sends datagrams, and a log sensor sees only sequences";
            let cure =
                "write capture = [\"packet\", { … }] in [gate], or give this user a sequence";
            fields.refuse("name", what, cure);
        }
        if !fields.has("fwknop") {
            return user_keys::key(fields, self.key_files).map(Credential::Key);
        }
        let services = policy.map_or(&[][..], |policy| &policy.services);
        let keys = fwknop_user::read(fields, services, self.key_files)?;
        let gate = self.main.and_then(MainFile::gate);
        let is_bound = gate.is_some_and(|gate| gate.capture == CaptureKind::Udp);
        if is_bound && !keys.destination.is_empty() {
            let what = "with capture = \"udp\", the gate does not know where a packet was sent to";
            let cure = "remove capture from [gate], or destination";
            file.refuse(fields.at("fwknop"), refusal(what, cure));
        }
        Some(Credential::Fwknop(keys))
    }

    /// `at` is the place of the key.
    fn key(&self, file: &ConfigText<'a>, at: usize, key: &UserKey) -> Key<'a> {
        let gate = self.gate_key();
        let made = if self.keeps_keys {
            key.material(gate).map(|made| made.map(Material::Made))
        } else {
            key.check(gate).map(|good| good.map(|()| Material::Checked))
        };
        let material = match made {
            Some(Ok(material)) => material,
            Some(Err(refusal)) => {
                file.refuse(at, refusal);
                Material::Refused
            }
            None => Material::NoGateKey,
        };
        Key {
            fingerprint: self.fingerprint(key.text().as_bytes()),
            place: Place::of(file, at),
            material,
        }
    }

    fn gate_key(&self) -> Option<&'m PrivateKey> {
        match &self.main?.gate_key {
            GateKey::Read(key) => Some(key),
            _ => None,
        }
    }

    fn fingerprint(&self, text: &[u8]) -> Fingerprint {
        self.hashers.each_ref().map(|hasher| hasher.hash_one(text))
    }
}
