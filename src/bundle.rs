//! The files of a config as they were read: what the monitor hands to the engine through a descriptor.
//!
//! Their bytes hold keys, so they are wiped on drop and never printed (invariant 7).

use std::fmt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// One file as it was read.
pub struct BundleFile {
    /// Where it was read from.
    pub path: PathBuf,
    /// Its text.
    pub text: Zeroizing<String>,
}

/// All files of one config.
#[derive(Default)]
pub struct Bundle {
    /// `posternd.toml`.
    pub main: Option<BundleFile>,
    /// `users.d/*.toml`, by name.
    pub users: Vec<BundleFile>,
    /// Files that these name: `key_file`, `private_key`.
    pub keys: Vec<BundleFile>,
}

impl Bundle {
    /// The text of a key file that the config names.
    pub fn key_file(&self, path: &Path) -> Option<&str> {
        self.keys.iter().find(|file| file.path == path).map(|file| file.text.as_str())
    }
}

/// The path and the length only.
impl fmt::Debug for BundleFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.path.display(), self.text.len())
    }
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.main.iter().chain(&self.users).chain(&self.keys)).finish()
    }
}
