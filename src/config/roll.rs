//! All users of a gate, in the order of the files: whose names and keys must differ, and whose number is bounded.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use postern_proto::{CodeKey, KeyMaterial};
use toml::de::{DeTable, DeValue};

use super::bounds::USERS_MAX;
use super::fields::{Fields, wrong_type};
use super::page::Page;
use super::problem::{Fault, Problem, fault, quoted};
use super::secret::{self, KeyTexts, Seen};
use super::sections::{GateKey, Head};
use super::user::{self, Secret};
use crate::bundle::Bundle;
use crate::policy::Policy;

pub(super) struct Roll<'a, 'h> {
    head: Option<&'h Head>,
    texts: &'h KeyTexts<'a>,
    names: HashMap<String, Place<'a>>,
    seen: Seen<Place<'a>>,
    policies: Vec<Policy>,
    keys: Vec<KeyMaterial>,
    codes: Vec<Option<CodeKey>>,
    users: usize,
    told_of_gate_key: bool,
}

/// A user's table: which file, which line.
#[derive(Clone)]
struct Place<'a> {
    file: &'a Path,
    line: usize,
}

impl<'a, 'h> Roll<'a, 'h> {
    pub(super) fn new(bundle: &Bundle, head: Option<&'h Head>, texts: &'h KeyTexts<'a>) -> Self {
        // Each user needs a name. With room for all from the start, the keys never move and leave no copies behind.
        let most = bundle.main.iter().chain(&bundle.users).map(|file| file.text.matches("name").count()).sum::<usize>();
        Self {
            head,
            texts,
            names: HashMap::new(),
            seen: Seen::new(),
            policies: Vec::new(),
            keys: Vec::with_capacity(most.min(USERS_MAX)),
            codes: Vec::new(),
            users: 0,
            told_of_gate_key: false,
        }
    }

    /// The `[[user]]` tables of `posternd.toml`.
    pub(super) fn read_main(&mut self, page: &mut Page<'a>, tree: &DeTable<'_>) {
        self.read_list(page, tree);
    }

    /// A file of `users.d`: `[[user]]` tables, or one user's keys with no table around them.
    pub(super) fn read_beside(&mut self, page: &mut Page<'a>, tree: &DeTable<'_>) {
        if tree.contains_key("user") {
            Fields::new("a file of users", tree, 0..0).only(page, &["user"]);
            self.read_list(page, tree);
        } else if !tree.is_empty() {
            self.read_user(page, &Fields::new("a user", tree, 0..0));
        }
    }

    /// In step with each other if nothing was refused.
    pub(super) fn into_parts(self) -> (Vec<Policy>, Vec<KeyMaterial>, Vec<Option<CodeKey>>) {
        (self.policies, self.keys, self.codes)
    }

    fn read_list(&mut self, page: &mut Page<'a>, tree: &DeTable<'_>) {
        let Some(value) = tree.get("user") else { return };
        let DeValue::Array(users) = value.get_ref() else {
            page.refuse(value.span(), wrong_type("user", "[[user]] with two brackets, for there may be many", value.get_ref()));
            return;
        };
        for user in users.iter() {
            match user.get_ref() {
                DeValue::Table(table) => self.read_user(page, &Fields::new("[[user]]", table, user.span())),
                other => page.refuse(user.span(), wrong_type("a user", "a table, [[user]]", other)),
            }
        }
    }

    fn read_user(&mut self, page: &mut Page<'a>, fields: &Fields<'_>) {
        self.users += 1;
        if self.users > USERS_MAX {
            if self.users == USERS_MAX + 1 {
                page.refuse(
                    fields.span.clone(),
                    fault(format!("there are more than {USERS_MAX} users"), "share them out to several gates"),
                );
            }
            return;
        }
        let policy = user::policy(page, fields, self.head);
        let secret = user::secret(page, fields, self.texts);
        self.codes.push(user::code_key(page, fields));
        if let Some(policy) = policy {
            self.check_name(page, fields, &policy.user);
            self.policies.push(policy);
        }
        if let Some(secret) = secret {
            self.check_key(page, fields, &secret);
            let material = self.material(page, fields, &secret);
            self.keys.extend(material);
        }
    }

    fn check_name(&mut self, page: &mut Page<'a>, fields: &Fields<'_>, name: &str) {
        let span = fields.span_of("name");
        let here = Place::of(page, &span);
        match self.names.get(name) {
            Some(before) => {
                let name = if secret::looks_like_key(name) { quoted(name) } else { format!("{name:?}") };
                page.refuse(span, twice(&format!("user {name} is defined"), before, "rename or take out one of the two"));
            }
            None => {
                self.names.insert(name.to_owned(), here);
            }
        }
    }

    fn check_key(&mut self, page: &mut Page<'a>, fields: &Fields<'_>, secret: &Secret) {
        let (kind, text) = match secret {
            Secret::Shared(key) if fields.has("key") => ("key", key.to_base64()),
            Secret::Shared(key) => ("key_file", key.to_base64()),
            Secret::Pair(public, _) => ("public_key", public.to_base64()),
        };
        let span = fields.span_of(kind);
        if let Some(before) = self.seen.before(&text, Place::of(page, &span)) {
            page.refuse(span, twice("the same key is given", &before, "give each user a key of their own, from postern keygen"));
        }
    }

    fn material(&mut self, page: &mut Page<'a>, fields: &Fields<'_>, secret: &Secret) -> Option<KeyMaterial> {
        let (public, preshared) = match secret {
            Secret::Shared(key) => return Some(KeyMaterial::shared(key)),
            Secret::Pair(public, preshared) => (public, preshared.as_ref()),
        };
        let span = fields.span_of("public_key");
        match &self.head?.gate_key {
            GateKey::Held(gate) => {
                let paired = KeyMaterial::pair_at_gate(gate, public, preshared);
                page.check(
                    span,
                    paired.map_err(|error| fault(error.to_string(), "ask the user for a new key pair, from postern keygen --pair")),
                )
            }
            GateKey::None => {
                if !std::mem::replace(&mut self.told_of_gate_key, true) {
                    page.refuse(span, without_gate_key());
                }
                None
            }
            GateKey::NotRead(path, line) => {
                if !std::mem::replace(&mut self.told_of_gate_key, true) {
                    let what = format!("was not read, though private_key of [gate] (line {line}) names it");
                    page.refuse_other(Problem::of_file(path, what, "load the config again"));
                }
                None
            }
            GateKey::Refused => None,
        }
    }
}

impl<'a> Place<'a> {
    fn of(page: &Page<'a>, span: &Range<usize>) -> Self {
        Self { file: page.path, line: page.place(span.start).0 }
    }
}

fn without_gate_key() -> Fault {
    fault(
        "a user with public_key needs a private key of the gate",
        "make one with postern keygen --pair and name its file in [gate]: private_key = \"gate.key\"",
    )
}

fn twice(what: &str, before: &Place<'_>, cure: &str) -> Fault {
    fault(format!("{what} twice, first at {}:{}", before.file.display(), before.line), cure)
}
