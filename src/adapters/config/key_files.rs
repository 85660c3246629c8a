//! Which further files a config names, so that they can be read before it is loaded.
//!
//! Says nothing of what is wrong: loading does. A key in the place of a path is left out, so that no message about files can hold it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::bounds;
use super::page::Page;
use crate::adapters::config::bundle::Bundle;

pub(super) fn named(bundle: &Bundle) -> Vec<PathBuf> {
    let mut named = Vec::new();
    let mut gate_key = None;
    let mut pairs = false;
    for file in bundle.main.iter().chain(&bundle.users) {
        let Some(tree) = Page::of(file).tree() else {
            continue;
        };
        if bundle
            .main
            .as_ref()
            .is_some_and(|main| main.path == file.path)
        {
            gate_key = tree
                .get("gate")
                .and_then(|gate| gate.get_ref().as_table())
                .and_then(|gate| path(&file.path, gate, "private_key"));
        }
        for user in users(&tree) {
            pairs |= user.contains_key("public_key") || user.contains_key("old_public_key");
            named.extend(path(&file.path, user, "key_file"));
        }
    }
    named.extend(gate_key.filter(|_| pairs));
    let mut seen = HashSet::new();
    named.retain(|path| seen.insert(path.clone()));
    named
}

/// The file of the gate's own private key, whether anybody needs it or not.
pub(super) fn gate_key(bundle: &Bundle) -> Option<PathBuf> {
    let main = bundle.main.as_ref()?;
    let tree = Page::of(main).tree()?;
    path(
        &main.path,
        tree.get("gate")?.get_ref().as_table()?,
        "private_key",
    )
}

fn users<'t>(tree: &'t DeTable<'t>) -> Vec<&'t DeTable<'t>> {
    match tree.get("user").map(|users| users.get_ref()) {
        Some(DeValue::Array(users)) => users
            .iter()
            .filter_map(|user| user.get_ref().as_table())
            .collect(),
        Some(_) => Vec::new(),
        None => vec![tree],
    }
}

fn path(page: &Path, table: &DeTable<'_>, key: &str) -> Option<PathBuf> {
    let text = table.get(key)?.get_ref().as_str()?;
    bounds::key_path(page, text).ok()
}
