//! The text of a gate's config to settings, policies and keys (DESIGN section 4).
//!
//! All that is wrong is said in one go, each with file, line and cure. Must not open files: what it reads is in the bundle.
//! Text of a config never reaches a problem unless it is known to be no key (invariant 7).

use std::path::{Path, PathBuf};

use postern_proto::{CodeKey, KeyMaterial};

use crate::adapters::config::bundle::{Bundle, BundleFile};
use crate::model::settings::Settings;
use crate::model::time::Timestamp;

mod bounds;
pub mod bundle;
pub mod disk;
mod edit;
mod fields;
mod forward;
mod key_files;
mod list;
mod metrics;
mod old;
mod page;
mod problem;
mod programs;
mod quota;
mod secret;
mod sections;
#[cfg(test)]
mod tests;
mod user;
mod user_table;

pub use edit::{Change, edited, text_of};
pub use list::{KeyKind, Listed};
pub use problem::{Problem, Problems};

use page::Page;
use secret::KeyTexts;
use user_table::UserTable;

/// A config that is right in every part.
#[derive(Debug)]
pub struct Loaded {
    /// What both processes know.
    pub settings: Settings,
    /// What only the engine uses: one for each of `settings.policies`, in their order.
    pub keys: Vec<KeyMaterial>,
    /// Also the engine's alone, in the same order: the secrets of users who must send one-time codes.
    pub codes: Vec<Option<CodeKey>>,
    /// Keys of before that count for a while yet; only the engine uses them, too.
    pub old_keys: Vec<OldKey>,
    /// One for each of `settings.disabled`, in their order: no key that counts, only to tell whose it was.
    pub disabled_keys: Vec<KeyMaterial>,
}

/// A user's key of before.
#[derive(Debug)]
pub struct OldKey {
    /// The user's place in `settings.policies`.
    pub user: usize,
    /// From this moment on it does not count any more; it may lie in the past.
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

/// The further files that a config names and that [`load`] needs in the bundle: key files of users, and the gate's private key
/// where some user has a key pair. A relative path starts at the folder of the file that names it.
///
/// What is wrong with the config is not said here but by [`load`].
pub fn key_files(bundle: &Bundle) -> Vec<PathBuf> {
    key_files::named(bundle)
}

/// The file of the gate's own private key that a config names, whether [`load`] needs it or not.
pub fn gate_key_file(bundle: &Bundle) -> Option<PathBuf> {
    key_files::gate_key(bundle)
}

/// Reads a config.
///
/// # Errors
/// All that is wrong with it, in the order of files and lines. A file that is not TOML says only its first error.
pub fn load(bundle: &Bundle) -> Result<Loaded, Problems> {
    read_and_wipe(bundle, false).map(|(loaded, _)| loaded)
}

/// The settings of a config and all its users, those that are disabled, too.
///
/// # Errors
/// As [`load`].
pub fn settings_and_users(bundle: &Bundle) -> Result<(Settings, Vec<Listed>), Problems> {
    read_and_wipe(bundle, true).map(|(loaded, listed)| (loaded.settings, listed))
}

/// The control socket that `posternd.toml` names, or the usual one, whatever else is wrong in it.
///
/// # Errors
/// Where it is not TOML, or the socket's own path is wrong.
pub fn control_socket(main: &BundleFile) -> Result<PathBuf, Problems> {
    let mut page = Page::of(main);
    let named = page
        .tree()
        .and_then(|tree| sections::control_socket(&mut page, &tree));
    zeroize::zeroize_stack::<STACK>();
    let problems = page.into_problems();
    if problems.is_empty() {
        Ok(named.unwrap_or_else(|| PathBuf::from(CONTROL_SOCKET)))
    } else {
        Err(Problems(problems))
    }
}

/// The control socket of a config that names none.
pub const CONTROL_SOCKET: &str = "/run/postern/control.sock";

/// A key that is moved leaves a copy where it was, on a stack that nobody clears: so that goes, too.
fn read_and_wipe(bundle: &Bundle, listing: bool) -> Result<(Loaded, Vec<Listed>), Problems> {
    let read = read(bundle, listing);
    zeroize::zeroize_stack::<STACK>();
    read
}

/// More than reading a config, or setting a gate up with it, takes of the stack; debug builds take most.
pub const STACK: usize = 256 << 10;

// Inlined, its own part of the stack would lie beyond what is wiped.
#[inline(never)]
fn read(bundle: &Bundle, listing: bool) -> Result<(Loaded, Vec<Listed>), Problems> {
    let Some(main) = &bundle.main else {
        return Err(Problems(vec![Problem::of_file(
            Path::new("posternd.toml"),
            "was not read",
            "name the config with --config",
        )]));
    };
    let texts = KeyTexts::of(bundle);
    let mut page = Page::of(main);
    let tree = page.tree();
    let head = tree
        .as_ref()
        .map(|tree| sections::read(&mut page, tree, &texts));
    let mut user_table = UserTable::new(bundle, head.as_ref(), &texts, listing);
    if let Some(tree) = &tree {
        user_table.read_main(&mut page, tree);
    }
    drop(tree);
    let mut problems = page.into_problems();
    for file in &bundle.users {
        let mut page = Page::of(file);
        if let Some(tree) = page.tree() {
            user_table.read_beside(&mut page, &tree);
        }
        problems.extend(page.into_problems());
    }
    let user_table::Parts {
        policies,
        disabled,
        disabled_keys,
        keys,
        codes,
        old_keys,
        listed,
    } = user_table.into_parts();
    match head.and_then(|head| head.settings(policies, disabled)) {
        Some(settings) if problems.is_empty() => Ok((
            Loaded {
                settings,
                keys,
                codes,
                old_keys,
                disabled_keys,
            },
            listed,
        )),
        _ => Err(Problems(problems)),
    }
}
