//! Where one-time codes come from, as a profile says it: typed, or from a program. The secret they are made from never
//! stands in a profile: who had the file would have both halves.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error};

/// Where the code of a knock comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum CodeSource {
    /// `code = "ask"`: somebody types it on the terminal.
    Ask,
    /// `code_command = […]`: a program prints it. The program and its arguments, never empty.
    Program(Vec<String>),
}

/// The only value of `code`. Anything else may be a code or a secret, so it is not repeated.
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

/// What the two keys of a profile come to.
pub(super) fn source(
    ask: Option<Ask>,
    program: Option<Vec<String>>,
) -> Result<Option<CodeSource>, &'static str> {
    match (ask, program) {
        (None, None) => Ok(None),
        (Some(Ask), None) => Ok(Some(CodeSource::Ask)),
        (Some(Ask), Some(_)) => Err("code and code_command are both there; keep one"),
        (None, Some(program)) if program.first().is_none_or(String::is_empty) => Err(
            "code_command names no program; write it like [\"/usr/bin/oathtool\", \"--totp\", …]",
        ),
        (None, Some(program)) => Ok(Some(CodeSource::Program(program))),
    }
}

/// The program's arguments stay out: one of them may lead to the secret, or be it.
impl fmt::Debug for CodeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ask => f.write_str("Ask"),
            Self::Program(command) => write!(
                f,
                "Program({:?} ..)",
                command.first().map_or("", String::as_str)
            ),
        }
    }
}
