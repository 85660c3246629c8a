//! All users of a gate, in the order of the files: whose names and keys must differ, and whose number is bounded.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use postern_proto::{CodeKey, KeyMaterial, KeyText};
use toml::de::{DeTable, DeValue};

use super::OldKey;
use super::bounds::USERS_MAX;
use super::fields::{Fields, wrong_type};
use super::list::{Listed, Read};
use super::old;
use super::page::Page;
use super::problem::{Fault, Problem, fault, quoted};
use super::secret::{self, KeyTexts, Seen};
use super::sections::{GateKey, Head};
use super::user::{self, Secret};
use crate::adapters::config::bundle::Bundle;
use crate::model::policy::Policy;

pub(super) struct UserTable<'a, 'h> {
    head: Option<&'h Head>,
    texts: &'h KeyTexts<'a>,
    names: HashMap<String, Place<'a>>,
    seen: Seen<Place<'a>>,
    parts: Parts,
    users: usize,
    listing: bool,
    told_of_gate_key: bool,
}

/// What was read of all users.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) policies: Vec<Policy>,
    pub(super) disabled: Vec<Policy>,
    /// In step with `disabled` if nothing was refused.
    pub(super) disabled_keys: Vec<KeyMaterial>,
    /// In step with `policies` if nothing was refused.
    pub(super) keys: Vec<KeyMaterial>,
    /// In step with them.
    pub(super) codes: Vec<Option<CodeKey>>,
    pub(super) old_keys: Vec<OldKey>,
    /// Only where somebody asks for it.
    pub(super) listed: Vec<Listed>,
}

/// A user's table: which file, which line.
#[derive(Clone)]
struct Place<'a> {
    file: &'a Path,
    line: usize,
}

impl<'a, 'h> UserTable<'a, 'h> {
    pub(super) fn new(
        bundle: &Bundle,
        head: Option<&'h Head>,
        texts: &'h KeyTexts<'a>,
        listing: bool,
    ) -> Self {
        // Each user needs a name. With room for all from the start, the keys never move and leave no copies behind.
        let most = |word: &str| {
            let files = bundle.main.iter().chain(&bundle.users);
            files
                .map(|file| file.text.matches(word).count())
                .sum::<usize>()
                .min(USERS_MAX)
        };
        let (keys, old_keys) = (
            Vec::with_capacity(most("name")),
            Vec::with_capacity(most("old_until")),
        );
        let (codes, disabled_keys) = (
            Vec::with_capacity(most("name")),
            Vec::with_capacity(most("disabled")),
        );
        let parts = Parts {
            keys,
            old_keys,
            codes,
            disabled_keys,
            ..Parts::default()
        };
        Self {
            head,
            texts,
            names: HashMap::new(),
            seen: Seen::new(),
            parts,
            users: 0,
            listing,
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
            self.read_user(page, &Fields::new("a user", tree, 0..0), true);
        }
    }

    pub(super) fn into_parts(self) -> Parts {
        self.parts
    }

    fn read_list(&mut self, page: &mut Page<'a>, tree: &DeTable<'_>) {
        let Some(value) = tree.get("user") else {
            return;
        };
        let DeValue::Array(users) = value.get_ref() else {
            page.refuse(
                value.span(),
                wrong_type(
                    "user",
                    "[[user]] with two brackets, for there may be many",
                    value.get_ref(),
                ),
            );
            return;
        };
        for user in users.iter() {
            match user.get_ref() {
                DeValue::Table(table) => {
                    self.read_user(page, &Fields::new("[[user]]", table, user.span()), false)
                }
                other => page.refuse(
                    user.span(),
                    wrong_type("a user", "a table, [[user]]", other),
                ),
            }
        }
    }

    fn read_user(&mut self, page: &mut Page<'a>, fields: &Fields<'_>, own_file: bool) {
        self.users += 1;
        if self.users > USERS_MAX {
            if self.users == USERS_MAX + 1 {
                page.refuse(
                    fields.span.clone(),
                    fault(
                        format!("there are more than {USERS_MAX} users"),
                        "share them out to several gates",
                    ),
                );
            }
            return;
        }
        let policy = user::policy(page, fields, self.head);
        let secret = user::secret(page, fields, self.texts);
        let old = old::read(page, fields);
        let code = user::code_key(page, fields);
        let disabled = fields.flag(page, "disabled").unwrap_or_default();
        if let Some(policy) = &policy {
            self.check_name(page, fields, &policy.user);
        }
        let material = secret.as_ref().and_then(|secret| {
            let (kind, text) = match secret {
                Secret::Shared(key) if fields.has("key") => ("key", key.to_base64()),
                Secret::Shared(key) => ("key_file", key.to_base64()),
                Secret::Pair(public, _) => ("public_key", public.to_base64()),
            };
            self.check_key(page, fields.span_of(kind), &text);
            self.material(page, fields.span_of("public_key"), secret)
        });
        let old_material = old.as_ref().and_then(|old| {
            let (kind, text) = match &old.secret {
                Secret::Shared(key) => ("old_key", key.to_base64()),
                Secret::Pair(public, _) => ("old_public_key", public.to_base64()),
            };
            self.check_key(page, fields.span_of(kind), &text);
            self.material(page, fields.span_of("old_public_key"), &old.secret)
        });
        let (Some(policy), Some(secret)) = (policy, secret) else {
            return;
        };
        let read = Read {
            policy,
            secret,
            code,
            old,
            disabled,
            own_file,
        };
        if self.listing {
            self.parts.listed.push(Listed::of(page, fields, &read));
        }
        self.take(read, material, old_material);
    }

    /// A disabled user is nobody to the gate: the keys are kept apart, for whoever wants to know why a knock does not work.
    fn take(
        &mut self,
        Read {
            policy,
            code,
            old,
            disabled,
            ..
        }: Read,
        material: Option<KeyMaterial>,
        old_material: Option<KeyMaterial>,
    ) {
        if disabled {
            self.parts.disabled.push(policy);
            self.parts.disabled_keys.extend(material);
            return;
        }
        let user = self.parts.policies.len();
        self.parts.policies.push(policy);
        self.parts.keys.extend(material);
        self.parts.codes.push(code);
        let old = old.zip(old_material).map(|(old, material)| OldKey {
            user,
            until: old.until,
            material,
        });
        self.parts.old_keys.extend(old);
    }

    fn check_name(&mut self, page: &mut Page<'a>, fields: &Fields<'_>, name: &str) {
        let span = fields.span_of("name");
        let here = Place::of(page, &span);
        match self.names.get(name) {
            Some(before) => {
                let name = if secret::looks_like_key(name) {
                    quoted(name)
                } else {
                    format!("{name:?}")
                };
                page.refuse(
                    span,
                    twice(
                        &format!("user {name} is defined"),
                        before,
                        "rename or take out one of the two",
                    ),
                );
            }
            None => {
                self.names.insert(name.to_owned(), here);
            }
        }
    }

    fn check_key(&mut self, page: &mut Page<'a>, span: Range<usize>, text: &KeyText) {
        if let Some(before) = self.seen.before(text, Place::of(page, &span)) {
            page.refuse(
                span,
                twice(
                    "the same key is given",
                    &before,
                    "give each user a key of their own, from postern keygen",
                ),
            );
        }
    }

    /// `span` is where the public key of a pair stands.
    fn material(
        &mut self,
        page: &mut Page<'a>,
        span: Range<usize>,
        secret: &Secret,
    ) -> Option<KeyMaterial> {
        let (public, preshared) = match secret {
            Secret::Shared(key) => return Some(KeyMaterial::shared(key)),
            Secret::Pair(public, preshared) => (public, preshared.as_ref()),
        };
        match &self.head?.gate_key {
            GateKey::Held(gate) => {
                let paired = KeyMaterial::pair_at_gate(gate, public, preshared);
                page.check(
                    span,
                    paired.map_err(|error| {
                        fault(
                            error.to_string(),
                            "ask the user for a new key pair, from postern keygen --pair",
                        )
                    }),
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
                    let what = format!(
                        "was not read, though private_key of [gate] (line {line}) names it"
                    );
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
        Self {
            file: page.path,
            line: page.place(span.start).0,
        }
    }
}

fn without_gate_key() -> Fault {
    fault(
        "a user with public_key needs a private key of the gate",
        "make one with postern keygen --pair and name its file in [gate]: private_key = \"gate.key\"",
    )
}

fn twice(what: &str, before: &Place<'_>, cure: &str) -> Fault {
    fault(
        format!(
            "{what} twice, first at {}:{}",
            before.file.display(),
            before.line
        ),
        cure,
    )
}
