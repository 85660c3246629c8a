//! What a gate keeps of rosters: the one in force in one file, and what it must never forget in another.

use serde::{Deserialize, Serialize};

use super::part::Part;
use super::text::Roster;
use crate::model::roster::RosterInForce;

const FIRST: &str =
    "# The roster in force at this gate. posternd writes this file; do not edit it.\n";
/// The line after the notes, and the line after the signatures. No line of signatures is like it, but the end of a comment, which
/// nobody signs, can be.
pub(crate) const BREAK_LINE: &str = "---";
const BREAK: &str = "\n---\n";

/// A roster as a gate keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed<'a> {
    pub notes: Notes,
    pub signatures: &'a str,
    pub text: &'a str,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notes {
    pub in_force: RosterInForce,
    /// The services of policies that earlier rosters had. They stay closed.
    #[serde(default)]
    pub closed: Vec<String>,
}

impl<'a> Installed<'a> {
    pub fn write(&self) -> String {
        // Numbers and texts are always written.
        let notes = toml::to_string(&self.notes).unwrap_or_default();
        let (notes, signatures) = (notes.trim_end(), self.signatures.trim_end());
        let text = self.text;
        format!("{FIRST}{notes}{BREAK}{signatures}{BREAK}{text}")
    }

    /// Reads what [`Installed::write`] wrote; `None` for anything else.
    pub fn read(file: &'a str) -> Option<Self> {
        let (notes, rest) = file.split_once(BREAK)?;
        let (signatures, text) = rest.split_once(BREAK)?;
        Some(Self {
            notes: Notes::read(notes)?,
            signatures,
            text,
        })
    }
}

/// What counts although the file of the roster in force is lost or damaged: no older roster is taken, and services stay closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Floor {
    pub version: u64,
    /// How many signatures the last roster asked for. The next one needs as many.
    pub signatures: usize,
    /// Of the text of the last roster. No other one of its version is taken.
    pub digest: String,
    /// The services of the policies of all rosters so far, as TOML lines.
    pub services: Vec<String>,
}

impl Notes {
    /// Reads the part before the first [`BREAK_LINE`] of a file that [`Installed::write`] wrote; `None` if that part is damaged.
    pub fn read(start: &str) -> Option<Self> {
        toml::from_str(start.strip_prefix(FIRST)?).ok()
    }
}

impl Floor {
    /// What counts after this roster. Only the services of its own part stay closed if `forgets` is set.
    pub fn after(
        before: Option<&Self>,
        roster: &Roster,
        digest: &str,
        part: &Part,
        forgets: bool,
    ) -> Self {
        let earlier = before.filter(|_| !forgets).map(|before| &before.services);
        let mut services: Vec<String> = earlier.into_iter().flatten().cloned().collect();
        services.extend_from_slice(&part.policies);
        services.sort_unstable();
        services.dedup();
        Self {
            version: roster.version,
            signatures: roster.signatures,
            digest: digest.to_owned(),
            services,
        }
    }

    /// The services that stay closed although no user of this part may open them.
    pub fn closed_beside(&self, part: &Part) -> Vec<String> {
        let is_gone = |services: &&String| !part.policies.contains(services);
        self.services.iter().filter(is_gone).cloned().collect()
    }

    pub fn write(&self) -> String {
        toml::to_string(self).unwrap_or_default()
    }

    /// Reads what [`Floor::write`] wrote; `None` for anything else.
    pub fn read(file: &str) -> Option<Self> {
        toml::from_str(file).ok()
    }
}
