//! The texts of the manual pages for config files.

use std::sync::LazyLock;

use serde::Deserialize;

/// The tables of the gate's config. The first lists the tables of `posternd.toml`.
pub(crate) static GATE: LazyLock<Vec<Section>> = LazyLock::new(|| read(include_str!("gate.toml")));
/// The tables of the client's config.
pub(crate) static CLIENT: LazyLock<Vec<Section>> =
    LazyLock::new(|| read(include_str!("client.toml")));

/// A table of a config.
#[derive(Debug, Deserialize)]
pub(crate) struct Section {
    /// Its header, such as `[gate]`.
    pub(crate) name: String,
    pub(crate) about: String,
    #[serde(rename = "key")]
    pub(crate) keys: Vec<Key>,
}

/// A key of a table.
#[derive(Debug, Deserialize)]
pub(crate) struct Key {
    pub(crate) name: String,
    /// An example, or the possible values.
    pub(crate) takes: String,
    /// `None` if the key is required or the text explains the default.
    pub(crate) default: Option<String>,
    pub(crate) about: String,
}

#[derive(Deserialize)]
struct Texts {
    section: Vec<Section>,
}

fn read(text: &str) -> Vec<Section> {
    toml::from_str::<Texts>(text).unwrap().section
}
