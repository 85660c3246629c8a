//! All users of a gate, in the order of the files: names and keys must differ, and their number has a limit.

use std::collections::HashMap;

use postern_proto::{CodeKey, KeyMaterial, PrivateKey};
use toml::de::{DeTable, DeValue};

use super::config_text::ConfigText;
use super::fields::{Fields, wrong_type};
use super::fwknop_sharing::Sharing;
use super::fwknop_user::{self, FwknopKeys};
use super::gate::GateKey;
use super::key::{KeyFiles, SeenKeys, UserKey, looks_like_key};
use super::listed::{Credential, Listed, ReadUser};
use super::main_file::MainFile;
use super::place::Place;
use super::problem::{Problem, quoted, refusal};
use super::roster;
use super::sequence_user;
use super::user;
use super::user_keys;
use crate::adapters::config::bundle::Bundle;
use crate::core::gate::{FWKNOP_USERS_MAX, FwknopUser, SequenceUser};
use crate::model::policy::Policy;
use crate::model::settings::CaptureKind;
use crate::model::time::Timestamp;

const USERS_MAX: usize = 200_000;

/// A previous key of a user.
#[derive(Debug)]
pub struct OldKey {
    /// The user's place in `settings.policies`.
    pub user: usize,
    /// When it ends; may be in the past.
    pub until: Timestamp,
    /// The key.
    pub material: KeyMaterial,
}

impl OldKey {
    /// User, end and key.
    pub fn parts(&self) -> (usize, Timestamp, &KeyMaterial) {
        (self.user, self.until, &self.material)
    }
}

pub(super) struct UserTable<'a, 'm> {
    main: Option<&'m MainFile>,
    key_files: &'m KeyFiles<'a>,
    names: HashMap<String, Place<'a>>,
    /// With each key, where it is, and the group of users who may share it.
    seen_keys: SeenKeys<(Place<'a>, Option<usize>)>,
    sharing: Sharing,
    users: Users<'a>,
    count: usize,
    fwknop_count: usize,
    gate_key_reported: bool,
}

/// What was read of all users. The lists match if nothing was refused.
#[derive(Default)]
pub(super) struct Users<'a> {
    pub(super) policies: Vec<Policy>,
    pub(super) keys: Vec<KeyMaterial>,
    pub(super) codes: Vec<Option<CodeKey>>,
    pub(super) old_keys: Vec<OldKey>,
    /// Users of fwknop's clients: their policies, to follow the others, and their keys.
    fwknop_policies: Vec<Policy>,
    pub(super) fwknop: Vec<FwknopUser>,
    /// Users of sequences: their policies, to follow the others, and their sequences.
    sequence_policies: Vec<Policy>,
    pub(super) sequences: Vec<SequenceUser>,
    sequence_disabled: Vec<Policy>,
    disabled_sequences: Vec<SequenceUser>,
    sequence_places: [Vec<Place<'a>>; 2],
    pub(super) disabled: Vec<Policy>,
    pub(super) kept_closed: Vec<Policy>,
    pub(super) disabled_keys: Vec<KeyMaterial>,
    fwknop_disabled: Vec<Policy>,
    pub(super) disabled_fwknop: Vec<FwknopUser>,
    /// `None` if nobody asks for the list.
    pub(super) listed: Option<Vec<Listed>>,
}

impl<'a, 'm> UserTable<'a, 'm> {
    pub(super) fn new(
        bundle: &Bundle,
        main: Option<&'m MainFile>,
        key_files: &'m KeyFiles<'a>,
        listing: bool,
    ) -> Self {
        // With room for all from the start, keys never move and leave no copies behind.
        let most = |word: &str| {
            let files = bundle.main.iter().chain(&bundle.users);
            let files = files.chain(&bundle.roster);
            let words = files.map(|file| file.text.matches(word).count());
            words.sum::<usize>().min(USERS_MAX)
        };
        let users = Users {
            keys: Vec::with_capacity(most("name")),
            codes: Vec::with_capacity(most("name")),
            old_keys: Vec::with_capacity(most("old_until")),
            fwknop: Vec::with_capacity(most("fwknop").min(FWKNOP_USERS_MAX)),
            disabled_keys: Vec::with_capacity(most("disabled")),
            disabled_fwknop: Vec::with_capacity(most("fwknop").min(most("disabled"))),
            listed: listing.then(Vec::new),
            ..Users::default()
        };
        Self {
            main,
            key_files,
            names: HashMap::new(),
            seen_keys: SeenKeys::new(),
            sharing: Sharing::default(),
            users,
            count: 0,
            fwknop_count: 0,
            gate_key_reported: false,
        }
    }

    pub(super) fn read_list(&mut self, file: &ConfigText<'a>, values: &DeTable<'_>) {
        let Some(value) = values.get("user") else {
            return;
        };
        let at = value.span().start;
        let DeValue::Array(users) = value.get_ref() else {
            let wanted = "[[user]] with two brackets";
            file.refuse(at, wrong_type("user", wanted, value.get_ref()));
            return;
        };
        for user in users.iter() {
            let at = user.span().start;
            match user.get_ref() {
                DeValue::Table(table) => {
                    self.read_user(file, &Fields::new(file, "[[user]]", table, at), false);
                }
                other => file.refuse(at, wrong_type("a user", "a table, [[user]]", other)),
            }
        }
    }

    /// Reads a file of `users.d`: `[[user]]` tables, or the keys of one user without a table.
    pub(super) fn read_users_file(&mut self, file: &ConfigText<'a>, values: &DeTable<'_>) {
        if values.contains_key("user") {
            Fields::new(file, "a file of users", values, 0).only(&["user"]);
            self.read_list(file, values);
        } else if !values.is_empty() {
            self.read_user(file, &Fields::new(file, "a user", values, 0), true);
        }
    }

    /// Reads a gate's part of a roster.
    pub(super) fn read_roster(&mut self, file: &ConfigText<'a>, values: &DeTable<'_>) {
        self.read_list(file, values);
        let named = self.main.map(|main| &main.services.names);
        self.users.kept_closed = roster::kept_closed(file, values, named);
    }

    /// The users. After those with keys of ours come those of fwknop's clients, then those of sequences.
    pub(super) fn into_users(mut self) -> Users<'a> {
        let users = &mut self.users;
        for (keys, policies, own) in [
            (
                &mut users.fwknop,
                &mut users.policies,
                &mut users.fwknop_policies,
            ),
            (
                &mut users.disabled_fwknop,
                &mut users.disabled,
                &mut users.fwknop_disabled,
            ),
        ] {
            for (number, keys) in (policies.len()..).zip(keys) {
                keys.user = number;
            }
            policies.append(own);
        }
        for (users, policies, own) in [
            (
                &mut users.sequences,
                &mut users.policies,
                &mut users.sequence_policies,
            ),
            (
                &mut users.disabled_sequences,
                &mut users.disabled,
                &mut users.sequence_disabled,
            ),
        ] {
            for (number, user) in (policies.len()..).zip(users) {
                user.user = number;
            }
            policies.append(own);
        }
        self.users
    }

    fn read_user(&mut self, file: &ConfigText<'a>, fields: &Fields<'_>, own_file: bool) {
        self.count += 1;
        if self.count > USERS_MAX {
            if self.count == USERS_MAX + 1 {
                let what = format!("there are more than {USERS_MAX} users");
                let cure = "divide them among several gates";
                file.refuse(fields.start, refusal(what, cure));
            }
            return;
        }
        let policy = user::policy(fields, self.main);
        let key = self.credential(file, fields, policy.as_ref());
        let old = user_keys::previous_key(fields);
        let code = user_keys::code_key(fields);
        let disabled = fields.flag("disabled").unwrap_or_default();
        if let Some(policy) = &policy {
            self.check_name(file, fields.at("name"), &policy.user);
        }
        let material = key.as_ref().and_then(|key| {
            let Credential::Key(key) = key else {
                return None;
            };
            let mut names = ["key", "key_file", "public_key"].into_iter();
            let name = names.find(|name| fields.has(name)).unwrap_or_default();
            self.material(file, fields.at(name), key)
        });
        let old_material = old.as_ref().and_then(|old| {
            let name = match old.key {
                UserKey::Shared(_) => "old_key",
                UserKey::Pair(..) => "old_public_key",
            };
            self.material(file, fields.at(name), &old.key)
        });
        let (Some(policy), Some(key)) = (policy, key) else {
            return;
        };
        let read = ReadUser {
            policy,
            key,
            code,
            old,
            disabled,
            own_file,
        };
        if let Some(listed) = &mut self.users.listed {
            listed.push(Listed::of(fields, &read));
        }
        let place = Place::of(file, fields.at("sequence"));
        self.add(place, read, material, old_material);
    }

    fn credential(
        &mut self,
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
        let at = fields.at("fwknop");
        let services = policy.map_or(&[][..], |policy| &policy.services);
        let mut keys = fwknop_user::read(fields, services, self.key_files)?;
        keys.group = self.group(file, at, &keys);
        let gate = self.main.and_then(MainFile::gate);
        let is_bound = gate.is_some_and(|gate| gate.capture == CaptureKind::Udp);
        if is_bound && !keys.destination.is_empty() {
            let what = "with capture = \"udp\", the gate does not know where a packet was sent to";
            let cure = "remove capture from [gate], or destination";
            file.refuse(at, refusal(what, cure));
        }
        self.fwknop_count += 1;
        if self.fwknop_count == FWKNOP_USERS_MAX + 1 {
            let what = format!("there are more than {FWKNOP_USERS_MAX} users with fwknop");
            let cure = "give the others a key of ours, from postern keygen, or another gate";
            file.refuse(at, refusal(what, cure));
        }
        Some(Credential::Fwknop(keys))
    }

    /// The key of a disabled user is kept apart, so that `explain` can name the user of a dropped knock.
    fn add(
        &mut self,
        place: Place<'a>,
        user: ReadUser,
        material: Option<KeyMaterial>,
        old_material: Option<KeyMaterial>,
    ) {
        let users = &mut self.users;
        let fwknop = match user.key {
            Credential::Key(_) => None,
            Credential::Sequence(kind) => {
                let [places, disabled_places] = &mut users.sequence_places;
                // The number is set when all users are read.
                let sequence = SequenceUser { user: 0, kind };
                if user.disabled {
                    users.sequence_disabled.push(user.policy);
                    users.disabled_sequences.push(sequence);
                    disabled_places.push(place);
                } else {
                    users.sequence_policies.push(user.policy);
                    users.sequences.push(sequence);
                    places.push(place);
                }
                return;
            }
            Credential::Fwknop(keys) => Some(FwknopUser {
                // set when all users are read
                user: 0,
                key: keys.key,
                username: keys.username,
                destination: keys.destination,
                commands: keys.commands,
                access: keys.access,
                max_asked: keys.max_asked,
                group: keys.group,
                order: keys.order.unwrap_or_default(),
            }),
        };
        match (user.disabled, fwknop) {
            (false, None) => {}
            (false, Some(fwknop)) => {
                users.fwknop_policies.push(user.policy);
                users.fwknop.push(fwknop);
                return;
            }
            (true, None) => {
                users.disabled.push(user.policy);
                users.disabled_keys.extend(material);
                return;
            }
            (true, Some(fwknop)) => {
                users.fwknop_disabled.push(user.policy);
                users.disabled_fwknop.push(fwknop);
                return;
            }
        }
        let old = user.old.zip(old_material).map(|(old, material)| OldKey {
            user: users.policies.len(),
            until: old.until,
            material,
        });
        users.old_keys.extend(old);
        users.policies.push(user.policy);
        users.keys.extend(material);
        users.codes.push(user.code);
    }

    fn check_name(&mut self, file: &ConfigText<'a>, at: usize, name: &str) {
        let Some(Place { file: first, line }) = self.names.get(name) else {
            self.names.insert(name.to_owned(), Place::of(file, at));
            return;
        };
        let name = if looks_like_key(name) {
            quoted(name)
        } else {
            format!("{name:?}")
        };
        let first = first.display();
        let what = format!("user {name} is defined twice, first at {first}:{line}");
        file.refuse(at, refusal(what, "rename or remove one of the two"));
    }

    /// The key material, after a check that no other user has the key. `at` is the place of the key.
    fn material(&mut self, file: &ConfigText<'a>, at: usize, key: &UserKey) -> Option<KeyMaterial> {
        let cure = "give each user a key of their own, from postern keygen";
        self.refuse_second(file, at, key.text().as_bytes(), cure);
        match key.material(self.gate_key()) {
            Some(material) => file.check(at, material),
            None => {
                self.report_gate_key(file, at);
                None
            }
        }
    }

    fn refuse_second(&mut self, file: &ConfigText<'a>, at: usize, key: &[u8], cure: &str) {
        let before = self.seen_keys.before(key, (Place::of(file, at), None));
        if let Some((first, _)) = before {
            let what = format!("the same key is given twice, first at {}", first.name());
            file.refuse(at, refusal(what, cure));
        }
    }

    /// The group of users who share a key, each with another order.
    fn group(&mut self, file: &ConfigText<'a>, at: usize, keys: &FwknopKeys) -> usize {
        let new = self.sharing.begin(keys.order);
        let here = (Place::of(file, at), keys.order.is_some().then_some(new));
        let Some((first, group)) = self.seen_keys.before(&keys.own, here) else {
            return new;
        };
        let first = first.name();
        let (what, cure) = match group.zip(keys.order) {
            Some((group, order)) if self.sharing.join(group, order) => return group,
            Some(_) => (
                format!("a user with the same key has the same order, first at {first}"),
                "give each of them another order",
            ),
            None => (
                format!("the same key is given twice, first at {first}"),
                "make keys of their own for each user, with fwknop --key-gen, or give order to all who share one",
            ),
        };
        file.refuse(at, refusal(what, cure));
        new
    }

    fn gate_key(&self) -> Option<&'m PrivateKey> {
        match &self.main?.gate_key {
            GateKey::Read(key) => Some(key),
            _ => None,
        }
    }

    /// Reports once why a user's key pair has no private key of the gate.
    fn report_gate_key(&mut self, file: &ConfigText<'a>, at: usize) {
        let Some(main) = self.main else { return };
        if std::mem::replace(&mut self.gate_key_reported, true) {
            return;
        }
        match &main.gate_key {
            GateKey::None => {
                let cure = "make one with postern keygen --pair and name its file in [gate]: private_key = \"gate.key\"";
                let what = "a user with public_key needs a private key of the gate";
                file.refuse(at, refusal(what, cure));
            }
            GateKey::NotRead(path, line) => {
                let what =
                    format!("was not read, but private_key of [gate] (line {line}) names it");
                file.refuse_other(Problem::of_file(path, what, "load the config again"));
            }
            GateKey::Refused | GateKey::Read(_) => {}
        }
    }
}

impl Users<'_> {
    pub(super) fn placed_sequences(&self) -> Vec<(&Place<'_>, &SequenceUser)> {
        let [places, disabled] = &self.sequence_places;
        let all = places.iter().zip(&self.sequences);
        all.chain(disabled.iter().zip(&self.disabled_sequences))
            .collect()
    }
}
