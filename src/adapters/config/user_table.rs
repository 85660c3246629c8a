//! All users of a gate, in the order of the files: names and keys must differ, and their number has a limit.

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::hash::{BuildHasherDefault, Hasher};
use std::path::Path;

use postern_proto::{CodeKey, KeyMaterial};
use toml::de::DeTable;
use zeroize::Zeroize;

use super::config_text::ConfigText;
use super::fwknop_sharing::Sharing;
use super::fwknop_user::FwknopKeys;
use super::gate::GateKey;
use super::how::How;
use super::key::looks_like_key;
use super::listed::{Credential, Listed, ReadUser};
use super::main_file::MainFile;
use super::place::Place;
use super::problem::{Problem, quoted, refusal};
use super::roster;
use super::same_rules::SameRules;
use super::user_entry::{Entry, Fingerprint, Key, Material};
use crate::core::gate::{FWKNOP_USERS_MAX, FwknopUser, SequenceUser};
use crate::model::policy::Policy;
use crate::model::time::Timestamp;

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
    files: Vec<&'a Path>,
    names: Seen,
    keys: Seen,
    /// The groups of users of fwknop who may share a key.
    groups: HashMap<Fingerprint, usize>,
    sharing: Sharing,
    rules: SameRules,
    users: Users<'a>,
    how: How,
    count: usize,
    fwknop_count: usize,
    gate_key_reported: bool,
    problems: Vec<(usize, Problem)>,
}

/// Where names or keys were seen first: the number of the file, and the line.
type Seen = HashMap<Fingerprint, (u32, u32), BuildHasherDefault<Random>>;

/// A fingerprint is random already.
#[derive(Default)]
struct Random(u64);

impl Hasher for Random {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let first = bytes.first_chunk().copied().unwrap_or_default();
        self.0 = u64::from_ne_bytes(first);
    }
}

/// What was read of all users. The lists match if nothing was refused.
#[derive(Default)]
pub(super) struct Users<'a> {
    pub(super) policies: Vec<Policy>,
    pub(super) keys: Vec<KeyMaterial>,
    pub(super) codes: Vec<(usize, CodeKey)>,
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
    pub(super) fn new(main: Option<&'m MainFile>, how: How) -> Self {
        Self {
            main,
            files: Vec::new(),
            names: Seen::default(),
            keys: Seen::default(),
            groups: HashMap::new(),
            sharing: Sharing::default(),
            rules: SameRules::default(),
            users: Users {
                listed: how.listing.then(Vec::new),
                ..Users::default()
            },
            how,
            count: 0,
            fwknop_count: 0,
            gate_key_reported: false,
            problems: Vec::new(),
        }
    }

    /// Makes room for so many users: what grows is in memory twice for a moment.
    pub(super) fn expect(&mut self, users: usize) {
        let users = users.min(self.how.most_users);
        self.users.policies.reserve(users);
        if self.how.keeps_keys {
            self.users.keys.reserve(users);
        }
        if self.how.compares {
            self.names.reserve(users);
            self.keys.reserve(users);
        }
    }

    /// Takes the users of a file, or of a part of it. Files come in order, each with its number.
    pub(super) fn take(&mut self, number: usize, mut entries: Vec<Entry<'a>>) {
        for entry in entries.drain(..) {
            if self.files.len() <= number {
                self.files
                    .resize(number.saturating_add(1), entry.start.file);
            }
            self.take_one(number, entry);
        }
        // Keys that moved have left copies.
        entries.spare_capacity_mut().zeroize();
    }

    /// What a roster keeps closed.
    pub(super) fn take_kept_closed(&mut self, file: &ConfigText<'_>, values: &DeTable<'_>) {
        let named = self.main.map(|main| &main.services.names);
        self.users.kept_closed = roster::kept_closed(file, values, named);
    }

    /// The users. After those with keys of ours come those of fwknop's clients, then those of sequences.
    pub(super) fn into_users(mut self) -> (Users<'a>, Vec<(usize, Problem)>) {
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
        (self.users, self.problems)
    }

    fn take_one(&mut self, number: usize, entry: Entry<'a>) {
        self.count += 1;
        if self.count > self.how.most_users {
            if self.count == self.how.most_users + 1 {
                let what = format!("there are more than {} users", self.how.most_users);
                let cure = "divide them among several gates";
                self.refuse(number, entry.start, what, cure);
            }
            return;
        }
        if let Some((name, fingerprint, place)) = &entry.name
            && self.how.compares
        {
            self.check_name(number, *place, name, *fingerprint);
        }
        let group = entry.fwknop.and_then(|(fingerprint, place)| {
            let user = entry.user.as_ref()?;
            let Credential::Fwknop(keys) = &user.key else {
                return None;
            };
            self.count_fwknop(number, place);
            Some(self.group(number, place, fingerprint, keys))
        });
        let keeps_keys = self.how.keeps_keys;
        let mut material = |key| self.material(number, key).filter(|_| keeps_keys);
        let key = entry.key.and_then(&mut material);
        let old_key = entry.old_key.and_then(material);
        let Some(mut user) = entry.user else {
            return;
        };
        if let (Credential::Fwknop(keys), Some(group)) = (&mut user.key, group) {
            keys.group = group;
        }
        self.rules.share(&mut user.policy);
        if let Some(listed) = &mut self.users.listed {
            listed.extend(entry.listed);
        }
        user.code = user.code.filter(|_| keeps_keys);
        self.add(entry.sequence, user, key, old_key);
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
                    push(&mut users.sequence_disabled, user.policy);
                    push(&mut users.disabled_sequences, sequence);
                    disabled_places.push(place);
                } else {
                    push(&mut users.sequence_policies, user.policy);
                    push(&mut users.sequences, sequence);
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
                push(&mut users.fwknop_policies, user.policy);
                push(&mut users.fwknop, fwknop);
                return;
            }
            (true, None) => {
                push(&mut users.disabled, user.policy);
                material
                    .into_iter()
                    .for_each(|key| push(&mut users.disabled_keys, key));
                return;
            }
            (true, Some(fwknop)) => {
                push(&mut users.fwknop_disabled, user.policy);
                push(&mut users.disabled_fwknop, fwknop);
                return;
            }
        }
        let old = user.old.zip(old_material).map(|(old, material)| OldKey {
            user: users.policies.len(),
            until: old.until,
            material,
        });
        old.into_iter()
            .for_each(|old| push(&mut users.old_keys, old));
        let code = user.code.map(|code| (users.policies.len(), code));
        code.into_iter()
            .for_each(|code| push(&mut users.codes, code));
        push(&mut users.policies, user.policy);
        material
            .into_iter()
            .for_each(|key| push(&mut users.keys, key));
    }

    fn count_fwknop(&mut self, number: usize, place: Place<'a>) {
        self.fwknop_count += 1;
        if self.fwknop_count == FWKNOP_USERS_MAX + 1 {
            let what = format!("there are more than {FWKNOP_USERS_MAX} users with fwknop");
            let cure = "give the others a key of ours, from postern keygen, or another gate";
            self.refuse(number, place, what, cure);
        }
    }

    fn check_name(&mut self, number: usize, at: Place<'a>, name: &str, fingerprint: Fingerprint) {
        let Some(first) = before(&mut self.names, fingerprint, number, at.line) else {
            return;
        };
        let name = if looks_like_key(name) {
            quoted(name)
        } else {
            format!("{name:?}")
        };
        let what = format!(
            "user {name} is defined twice, first at {}",
            self.name_of(first)
        );
        self.refuse(number, at, what, "rename or remove one of the two");
    }

    /// The key material, after a check that no other user has the key.
    fn material(&mut self, number: usize, key: Key<'a>) -> Option<KeyMaterial> {
        if self.how.compares
            && let Some(first) = before(&mut self.keys, key.fingerprint, number, key.place.line)
        {
            let first = self.name_of(first);
            let what = format!("the same key is given twice, first at {first}");
            let cure = "give each user a key of their own, from postern keygen";
            self.refuse(number, key.place, what, cure);
        }
        match key.material {
            Material::Made(material) => Some(material),
            Material::Checked | Material::Refused => None,
            Material::NoGateKey => {
                self.report_gate_key(number, key.place);
                None
            }
        }
    }

    /// The group of users who share a key, each with another order.
    fn group(
        &mut self,
        number: usize,
        at: Place<'a>,
        fingerprint: Fingerprint,
        keys: &FwknopKeys,
    ) -> usize {
        let new = self.sharing.begin(keys.order);
        let Some(first) = before(&mut self.keys, fingerprint, number, at.line) else {
            self.groups.extend(keys.order.map(|_| (fingerprint, new)));
            return new;
        };
        let first = self.name_of(first);
        let group = self.groups.get(&fingerprint).copied();
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
        self.refuse(number, at, what, cure);
        new
    }

    /// Reports once why a user's key pair has no private key of the gate.
    fn report_gate_key(&mut self, number: usize, at: Place<'a>) {
        let Some(main) = self.main else { return };
        if std::mem::replace(&mut self.gate_key_reported, true) {
            return;
        }
        match &main.gate_key {
            GateKey::None => {
                let cure = "make one with postern keygen --pair and name its file in [gate]: private_key = \"gate.key\"";
                let what = "a user with public_key needs a private key of the gate";
                self.refuse(number, at, what.to_owned(), cure);
            }
            GateKey::NotRead(path, line) => {
                let what =
                    format!("was not read, but private_key of [gate] (line {line}) names it");
                let problem = Problem::of_file(path, what, "load the config again");
                self.problems.push((number, problem));
            }
            GateKey::Refused | GateKey::Read(_) => {}
        }
    }

    fn refuse(&mut self, number: usize, at: Place<'a>, what: String, cure: &str) {
        self.problems
            .push((number, at.refusal(refusal(what, cure))));
    }

    fn name_of(&self, (file, line): (u32, u32)) -> String {
        let file = usize::try_from(file)
            .ok()
            .and_then(|file| self.files.get(file));
        let file = file.map_or(Path::new(""), |file| file);
        format!("{}:{line}", file.display())
    }
}

/// Where the same was seen before; otherwise notes that it is seen here.
fn before(seen: &mut Seen, what: Fingerprint, file: usize, line: usize) -> Option<(u32, u32)> {
    let here = [file, line].map(|number| u32::try_from(number).unwrap_or(u32::MAX));
    match seen.entry(what) {
        Occupied(first) => Some(*first.get()),
        Vacant(place) => {
            place.insert(here.into());
            None
        }
    }
}

/// Adds what may hold a key. A list that grows moves its items and leaves copies, which are wiped.
fn push<T>(list: &mut Vec<T>, item: T) {
    if list.len() == list.capacity() {
        let mut longer = Vec::with_capacity(list.len().saturating_mul(2).max(16));
        longer.append(list);
        list.spare_capacity_mut().zeroize();
        *list = longer;
    }
    list.push(item);
}

impl Users<'_> {
    pub(super) fn placed_sequences(&self) -> Vec<(&Place<'_>, &SequenceUser)> {
        let [places, disabled] = &self.sequence_places;
        let all = places.iter().zip(&self.sequences);
        all.chain(disabled.iter().zip(&self.disabled_sequences))
            .collect()
    }
}
