//! What is wrong with a config: where, what, and what to do. Holds no text that could be a key (invariant 7).

use std::fmt;
use std::path::{Path, PathBuf};

/// One thing that is wrong; prints on one line as `FILE:LINE:COLUMN: WHAT; CURE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file it is in.
    pub file: PathBuf,
    /// The line, from 1; `None` where it is the whole file.
    pub line: Option<usize>,
    /// The character in the line, from 1.
    pub column: Option<usize>,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub cure: String,
}

/// All that is wrong with a config, one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

/// What is wrong with a value, before it is known where the value stands.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) what: String,
    pub(super) cure: String,
}

/// The longest text of a config that a problem may repeat. A key has 44 characters.
const QUOTED_MAX: usize = 20;

pub(super) fn fault(what: impl Into<String>, cure: impl Into<String>) -> Fault {
    Fault {
        what: what.into(),
        cure: cure.into(),
    }
}

/// A text of the config as a problem may repeat it: whole if it is short, else by its length only, for it could be a key in the wrong place.
pub(super) fn quoted(text: &str) -> String {
    match text.chars().count() {
        0..=QUOTED_MAX => format!("{text:?}"),
        length => format!("this text of {length} characters"),
    }
}

impl Problem {
    pub(super) fn of_file(file: &Path, what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            column: None,
            what: what.into(),
            cure: cure.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        for number in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{number}")?;
        }
        write!(f, ": {}; {}", self.what, self.cure)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}
impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_prints_on_one_line_with_as_much_of_its_place_as_is_known() {
        let mut problem = Problem::of_file(Path::new("/etc/p.toml"), "is wrong", "mend it");
        assert_eq!(problem.to_string(), "/etc/p.toml: is wrong; mend it");
        (problem.line, problem.column) = (Some(3), Some(7));
        assert_eq!(problem.to_string(), "/etc/p.toml:3:7: is wrong; mend it");
        assert_eq!(
            Problems(vec![problem.clone(), problem])
                .to_string()
                .lines()
                .count(),
            2
        );
    }

    #[test]
    fn a_text_as_long_as_a_key_is_not_repeated() {
        assert_eq!(quoted("tpc/22\n"), r#""tpc/22\n""#);
        assert_eq!(quoted(&"k".repeat(44)), "this text of 44 characters");
    }
}
