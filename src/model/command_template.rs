//! A program to run and its arguments, with placeholders such as `{user}`.
//!
//! A value never leaves its argument and no shell reads it (invariant 6). `grant_values` makes the values, `run` runs the program.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub(crate) const PLACEHOLDERS: [&str; 15] = [
    "id",
    "user",
    "allow",
    "address",
    "prefix",
    "family",
    "target",
    "protocol",
    "first",
    "last",
    "ports",
    "service",
    "until",
    "until_unix",
    "seconds",
];

/// A program by its absolute path, and its arguments. Its text form is the list in a config.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct CommandTemplate {
    program: PathBuf,
    arguments: Vec<Argument>,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Argument(Vec<ArgumentPart>);

#[derive(Clone, PartialEq, Eq)]
enum ArgumentPart {
    Text(String),
    Placeholder(&'static str),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    #[error("unknown placeholder {{{0}}}")]
    UnknownPlaceholder(String),
    /// A brace without its partner.
    #[error("unbalanced brace")]
    Brace,
    /// The kernel ends an argument at a zero byte.
    #[error("zero byte in an argument")]
    ZeroByte,
}

impl Argument {
    /// Reads an argument: `{user}` is a placeholder, `{{` and `}}` are single braces.
    ///
    /// # Errors
    /// If a brace has no partner, a placeholder is unknown, or there is a zero byte.
    pub(crate) fn read(text: &str) -> Result<Self, ArgumentError> {
        if text.contains('\0') {
            return Err(ArgumentError::ZeroByte);
        }
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = brace.strip_prefix("{{") {
                plain.push('{');
                rest = after;
            } else if let Some(after) = brace.strip_prefix("}}") {
                plain.push('}');
                rest = after;
            } else {
                let inside = brace.strip_prefix('{').ok_or(ArgumentError::Brace)?;
                let (name, after) = inside.split_once('}').ok_or(ArgumentError::Brace)?;
                let known = PLACEHOLDERS.into_iter().find(|known| *known == name);
                let name = known.ok_or_else(|| ArgumentError::UnknownPlaceholder(name.into()))?;
                parts.push(ArgumentPart::Text(std::mem::take(&mut plain)));
                parts.push(ArgumentPart::Placeholder(name));
                rest = after;
            }
        }
        plain.push_str(rest);
        parts.push(ArgumentPart::Text(plain));
        parts.retain(|part| !matches!(part, ArgumentPart::Text(text) if text.is_empty()));
        Ok(Self(parts))
    }

    pub(crate) fn is_plain(&self) -> bool {
        let is_text = |part: &ArgumentPart| matches!(part, ArgumentPart::Text(_));
        self.0.iter().all(is_text)
    }

    fn text(&self) -> String {
        let part = |part: &ArgumentPart| match part {
            ArgumentPart::Text(text) => text.replace('{', "{{").replace('}', "}}"),
            ArgumentPart::Placeholder(name) => format!("{{{name}}}"),
        };
        self.0.iter().map(part).collect()
    }

    fn filled(&self, values: &[(&str, String)]) -> String {
        let value_of = |name: &str| {
            let found = values.iter().find(|(known, _)| *known == name);
            found.map_or(String::new(), |(_, value)| value.clone())
        };
        let part = |part: &ArgumentPart| match part {
            ArgumentPart::Text(text) => text.clone(),
            ArgumentPart::Placeholder(name) => value_of(name),
        };
        self.0.iter().map(part).collect()
    }
}

impl CommandTemplate {
    pub(crate) fn new(program: PathBuf, arguments: Vec<Argument>) -> Self {
        Self { program, arguments }
    }

    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// The arguments with these values; a placeholder without a value becomes empty.
    pub(crate) fn filled(&self, values: &[(&str, String)]) -> Vec<String> {
        let filled = self.arguments.iter().map(|one| one.filled(values));
        filled.collect()
    }
}

impl From<CommandTemplate> for Vec<String> {
    fn from(template: CommandTemplate) -> Self {
        let program = template.program.to_string_lossy().into_owned();
        std::iter::once(program)
            .chain(template.arguments.iter().map(Argument::text))
            .collect()
    }
}

impl TryFrom<Vec<String>> for CommandTemplate {
    type Error = ArgumentError;

    fn try_from(words: Vec<String>) -> Result<Self, ArgumentError> {
        let mut words = words.into_iter();
        let program = words.next().unwrap_or_default().into();
        let arguments = words
            .map(|text| Argument::read(&text))
            .collect::<Result<_, _>>()?;
        Ok(Self { program, arguments })
    }
}

/// Without the arguments: they may hold a secret.
impl fmt::Debug for CommandTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (program, count) = (self.program.display(), self.arguments.len());
        write!(f, "CommandTemplate({program} with {count} arguments)")
    }
}

impl fmt::Debug for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Argument({} parts)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_inside_their_argument() {
        let words = ["/bin/open", "{user} {user}", "x", "{{ {{user}} }}", ""];
        let words = words.map(str::to_owned).to_vec();
        let template = CommandTemplate::try_from(words.clone()).unwrap();
        assert_eq!(Vec::from(template.clone()), words);
        let value = "a; rm -rf *".to_owned();
        let expected = ["a; rm -rf * a; rm -rf *", "x", "{ {user} }", ""];
        assert_eq!(template.filled(&[("user", value)]), expected);
        assert!(!format!("{template:?}").contains("user"));
    }

    #[test]
    fn malformed_arguments_are_refused() {
        let unknown = |name: &str| ArgumentError::UnknownPlaceholder(name.to_owned());
        for (text, wrong) in [
            ("{}", unknown("")),
            ("a{User}", unknown("User")),
            ("{ user}", unknown(" user")),
            ("{{{x}", unknown("x")),
            ("{user", ArgumentError::Brace),
            ("user}", ArgumentError::Brace),
            ("{user}}", ArgumentError::Brace),
            ("a\0", ArgumentError::ZeroByte),
        ] {
            assert_eq!(Argument::read(text), Err(wrong), "{text}");
        }
    }
}
