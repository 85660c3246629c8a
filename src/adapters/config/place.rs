//! Where a user is defined, for problems that are found after its file was read.

use std::path::Path;

use super::config_text::ConfigText;
use super::problem::Problem;

#[derive(Clone)]
pub(super) struct Place<'a> {
    pub(super) file: &'a Path,
    pub(super) line: usize,
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

    pub(super) fn of(file: &ConfigText<'a>, at: usize) -> Self {
        Self {
            file: file.path,
            line: file.place(at).0,
        }
    }
}
