//! The text of a gate's config to settings, policies and keys (DESIGN section 4).
//!
//! All that is wrong is said in one go, each with file, line and cure. Must not open files: what it reads is in the bundle.
//! Text of a config never reaches a problem unless it is known to be no key (invariant 7).

use std::path::{Path, PathBuf};

use postern_proto::KeyMaterial;

use crate::bundle::Bundle;
use crate::settings::Settings;

mod bounds;
mod fields;
mod forward;
mod key_files;
mod metrics;
mod page;
mod problem;
mod programs;
mod quota;
mod roll;
mod secret;
mod sections;
#[cfg(test)]
mod tests;
mod user;

pub use problem::{Problem, Problems};

use page::Page;
use roll::Roll;
use secret::KeyTexts;

/// A config that is right in every part.
#[derive(Debug)]
pub struct Loaded {
    /// What both processes know.
    pub settings: Settings,
    /// What only the engine uses: one for each of `settings.policies`, in their order.
    pub keys: Vec<KeyMaterial>,
}

/// The further files that a config names and that [`load`] needs in the bundle: key files of users, and the gate's private key
/// where some user has a key pair. A relative path starts at the folder of the file that names it.
///
/// What is wrong with the config is not said here but by [`load`].
pub fn key_files(bundle: &Bundle) -> Vec<PathBuf> {
    key_files::named(bundle)
}

/// Reads a config.
///
/// # Errors
/// All that is wrong with it, in the order of files and lines. A file that is not TOML says only its first error.
pub fn load(bundle: &Bundle) -> Result<Loaded, Problems> {
    let Some(main) = &bundle.main else {
        return Err(Problems(vec![Problem::of_file(Path::new("posternd.toml"), "was not read", "name the config with --config")]));
    };
    let texts = KeyTexts::of(bundle);
    let mut page = Page::of(main);
    let tree = page.tree();
    let head = tree.as_ref().map(|tree| sections::read(&mut page, tree, &texts));
    let mut roll = Roll::new(bundle, head.as_ref(), &texts);
    if let Some(tree) = &tree {
        roll.read_main(&mut page, tree);
    }
    drop(tree);
    let mut problems = page.into_problems();
    for file in &bundle.users {
        let mut page = Page::of(file);
        if let Some(tree) = page.tree() {
            roll.read_beside(&mut page, &tree);
        }
        problems.extend(page.into_problems());
    }
    let (policies, keys) = roll.into_parts();
    match head.and_then(|head| head.settings(policies)) {
        Some(settings) if problems.is_empty() => Ok(Loaded { settings, keys }),
        _ => Err(Problems(problems)),
    }
}
