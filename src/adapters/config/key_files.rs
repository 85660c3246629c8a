//! The key files that a config names, so that they can be read before it is loaded.
//!
//! Loading reports what is wrong. A key in the place of a path is left out, so that no message about files shows it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::parts::{PART, Parts};
use super::values;
use crate::adapters::config::bundle::Bundle;
use crate::core::roster::needs_gate_key;

/// The files that [`load`](super::load()) needs in the bundle: key files of users, the fleet key, and the gate's private key if
/// some user has a key pair. A relative path starts at the folder of the file that names it.
pub fn key_files(bundle: &Bundle) -> Vec<PathBuf> {
    let mut named = Vec::new();
    let mut has_pairs = false;
    for file in bundle.main.iter().chain(&bundle.users) {
        let parts = Parts::of(file, PART);
        for text in parts.texts() {
            // A million users are not parsed to find that none names a file.
            if text.has("_file") || !has_pairs && text.has("public_key") {
                let values = text.values();
                let users = values.iter().flat_map(|values| users(values));
                for user in users {
                    has_pairs |=
                        user.contains_key("public_key") || user.contains_key("old_public_key");
                    named.extend(named_by(&file.path, user));
                }
            }
        }
    }
    let roster = bundle.roster.as_ref();
    has_pairs |= roster.is_some_and(|part| needs_gate_key(&part.text));
    named.extend(has_pairs.then(|| gate_key_file(bundle)).flatten());
    named.extend(of_main(bundle, "cluster", "fleet_key_file"));
    let mut seen = HashSet::new();
    named.retain(|path| seen.insert(path.clone()));
    named
}

fn named_by(file: &Path, user: &DeTable<'_>) -> Vec<PathBuf> {
    let own = ["key_file", "sequences_file"].map(|key| path(file, user, key));
    let inner = [
        ("sequence", "passphrase_file"),
        ("fwknop", "key_file"),
        ("fwknop", "hmac_key_file"),
    ];
    let inner = inner.map(|(table, key)| {
        let table = user.get(table)?.get_ref().as_table()?;
        path(file, table, key)
    });
    own.into_iter().chain(inner).flatten().collect()
}

/// The file of the gate's private key, whether [`load`](super::load()) needs it or not.
pub(crate) fn gate_key_file(bundle: &Bundle) -> Option<PathBuf> {
    of_main(bundle, "gate", "private_key")
}

fn of_main(bundle: &Bundle, section: &str, key: &str) -> Option<PathBuf> {
    let main = bundle.main.as_ref()?;
    let parts = Parts::of(main, PART);
    let values = parts.rest().values()?;
    let table = values.get(section)?.get_ref().as_table()?;
    path(&main.path, table, key)
}

fn users<'t>(values: &'t DeTable<'t>) -> Vec<&'t DeTable<'t>> {
    match values.get("user").map(|users| users.get_ref()) {
        Some(DeValue::Array(users)) => users
            .iter()
            .filter_map(|user| user.get_ref().as_table())
            .collect(),
        Some(_) => Vec::new(),
        None => vec![values],
    }
}

fn path(file: &Path, table: &DeTable<'_>, key: &str) -> Option<PathBuf> {
    let text = table.get(key)?.get_ref().as_str()?;
    values::key_path(file, text).ok()
}
