//! What is wrong with a config: place, cause and cure. Never contains text that could be a key (invariant 7).

use std::fmt;
use std::path::{Path, PathBuf};

use crate::adapters::files::{FileError, FileErrorKind};
use crate::model::exit::{CONFIG, ExitError, PERMISSION};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub file: PathBuf,
    /// The line, from 1; `None` for the whole file.
    pub line: Option<usize>,
    pub(crate) column: Option<usize>,
    pub what: String,
    pub cure: String,
}

/// All problems of a config, one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

/// What is wrong with a value, without its place.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) what: String,
    pub(super) cure: String,
}

/// The longest text of a config that a problem may repeat. A key has 44 characters.
const QUOTED_MAX: usize = 20;

pub(super) fn refusal(what: impl Into<String>, cure: impl Into<String>) -> Refusal {
    Refusal {
        what: what.into(),
        cure: cure.into(),
    }
}

/// The refusal of a text that is not of this kind, such as "a service".
pub(super) fn is_not(kind: &str, text: &str, cure: impl Into<String>) -> Refusal {
    refusal(format!("{} is not {kind}", quoted(text)), cure)
}

/// A text of the config as a problem may show it: only its length if it could be a key in the wrong place.
pub(super) fn quoted(text: &str) -> String {
    match text.chars().count() {
        0..=QUOTED_MAX => format!("{text:?}"),
        length => format!("<text of {length} characters>"),
    }
}

/// The error, with its exit code, for a config file that cannot be read.
pub(crate) fn unreadable(error: FileError) -> ExitError {
    let code = match error.kind() {
        FileErrorKind::Permission => PERMISSION,
        FileErrorKind::NotFound | FileErrorKind::Exposed | FileErrorKind::Other => CONFIG,
    };
    ExitError::new(code, error)
}

/// The problems of several files, in the order of files and lines.
#[derive(Default)]
pub(super) struct FileProblems {
    found: Vec<(usize, Problem)>,
    /// Files that are not TOML, in order.
    broken: Vec<usize>,
}

impl FileProblems {
    pub(super) fn add(&mut self, file: usize, problems: Vec<Problem>) {
        if self.broken.binary_search(&file).is_err() {
            self.found
                .extend(problems.into_iter().map(|problem| (file, problem)));
        }
    }

    /// Adds why a file, or a part of it, is not TOML. Nothing else counts then.
    pub(super) fn add_only(&mut self, file: usize, problems: Vec<Problem>) {
        if self.broken.binary_search(&file).is_err() {
            self.found.retain(|(other, _)| *other != file);
            self.add(file, problems);
            self.broken.push(file);
        }
    }

    pub(super) fn in_order(mut self) -> Vec<Problem> {
        self.found.sort_by_key(|(file, problem)| {
            (*file, problem.line.is_none(), problem.line, problem.column)
        });
        self.found.into_iter().map(|(_, problem)| problem).collect()
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
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Problem {}
impl std::error::Error for Problems {}
