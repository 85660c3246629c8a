//! Where a user is defined, for problems that are found after its file was read.

use std::path::Path;

use super::config_text::ConfigText;
use super::problem::{Problem, Refusal};

#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) file: &'a Path,
    pub(super) line: usize,
    column: Option<usize>,
}

impl<'a> Place<'a> {
    pub(super) fn name(&self) -> String {
        format!("{}:{}", self.file.display(), self.line)
    }

    pub(super) fn problem(&self, what: String, cure: &str) -> Problem {
        Problem {
            line: Some(self.line),
            ..Problem::of_file(self.file, what, cure)
        }
    }

    /// The problem with its column.
    pub(super) fn refusal(&self, refusal: Refusal) -> Problem {
        Problem {
            column: self.column,
            ..self.problem(refusal.what, &refusal.cure)
        }
    }

    pub(super) fn of(file: &ConfigText<'a>, at: usize) -> Self {
        let (line, column) = file.place(at);
        Self {
            file: file.path,
            line,
            column,
        }
    }
}
