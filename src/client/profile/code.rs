//! Where one-time codes come from: a terminal or a program.
//!
//! The secret of the codes is never in a profile: a stolen file would hold both factors.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error};

/// Where the code of a knock comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum CodeSource {
    /// `code = "ask"`: typed on the terminal.
    Ask,
    /// `code_command = […]`: printed by a program. The program and its arguments, never empty.
    Program(Vec<String>),
}

/// The only value of `code`. Any other value may be a secret, so no error repeats it.
#[derive(Debug)]
pub(super) struct Ask;

impl<'de> Deserialize<'de> for Ask {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "ask" => Ok(Self),
            _ => Err(D::Error::custom(
                "code can only be \"ask\"; write that, or name a program in code_command = [\"/path\", \"argument\"]",
            )),
        }
    }
}

/// Hides the arguments of the program: one of them may be a secret.
impl fmt::Debug for CodeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ask => f.write_str("Ask"),
            Self::Program(command) => write!(f, "Program({:?} ..)", command.first()),
        }
    }
}
