//! The roster that a gate took, in one file: what the gate notes of it, its signatures and its text.

use serde::{Deserialize, Serialize};

use crate::model::roster::RosterInForce;

const FIRST: &str =
    "# The roster in force at this gate. posternd writes this file; do not edit it.\n";
/// A line of its own. No line of signatures is like it, but the end of a comment, which nobody signs, can be.
const BREAK: &str = "\n---\n";

/// A roster as a gate keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    pub notes: Notes,
    pub signatures: String,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notes {
    pub in_force: RosterInForce,
    /// The services of policies that earlier rosters had. They stay closed.
    #[serde(default)]
    pub closed: Vec<String>,
}

impl Installed {
    pub fn write(&self) -> String {
        // Numbers and texts are always written.
        let notes = toml::to_string(&self.notes).unwrap_or_default();
        let (notes, signatures) = (notes.trim_end(), self.signatures.trim_end());
        let text = &self.text;
        format!("{FIRST}{notes}{BREAK}{signatures}{BREAK}{text}")
    }

    /// Reads what [`Installed::write`] wrote; `None` for anything else.
    pub fn read(file: &str) -> Option<Self> {
        let (notes, rest) = file.strip_prefix(FIRST)?.split_once(BREAK)?;
        let (signatures, text) = rest.split_once(BREAK)?;
        Some(Self {
            notes: toml::from_str(notes).ok()?,
            signatures: format!("{signatures}\n"),
            text: text.to_owned(),
        })
    }
}
