//! The manual of the config files: every key, what it takes and what it means. Texts alone; `tests/manual` makes man pages of them
//! and fails where a reader of configs knows another key.

pub mod client;
pub mod gate;

/// A table of a config.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// As it stands in the file: `[gate]`.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Its keys, in the order in which they are told.
    pub keys: &'static [Key],
}

/// A key of a table.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What may stand behind it, as an example or as the words to choose from.
    pub takes: &'static str,
    /// What holds without it; `None` where it must be there, or its text says.
    pub default: Option<&'static str>,
    /// What it means.
    pub about: &'static str,
}

/// A key, in one line of a table.
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
