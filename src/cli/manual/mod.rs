//! The texts of the manual pages for config files: every key, its values and its meaning.
//!
//! `tests/manual` makes the pages, and fails if a reader of configs knows another key.

pub mod client;
pub mod gate;

/// A table of a config.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// Its header in the file, such as `[gate]`.
    pub name: &'static str,
    /// Its purpose.
    pub about: &'static str,
    /// Its keys in order.
    pub keys: &'static [Key],
}

/// A key of a table.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// An example, or the possible values.
    pub takes: &'static str,
    /// The default; `None` if the key is required or the text explains it.
    pub default: Option<&'static str>,
    /// Its meaning.
    pub about: &'static str,
}

const fn key(
    name: &'static str,
    takes: &'static str,
    default: Option<&'static str>,
    about: &'static str,
) -> Key {
    Key {
        name,
        takes,
        default,
        about,
    }
}
