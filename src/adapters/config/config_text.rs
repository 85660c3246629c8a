//! One file of a config while it is read: its text, its values and the problems found so far.
//!
//! Strings of the values point into the bundle's buffer, which is wiped; those with escapes are wiped with the values.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::Deref;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroize;

use super::problem::{Problem, Refusal, refusal};
use crate::adapters::config::bundle::BundleFile;

pub(super) struct ConfigText<'a> {
    pub(super) path: &'a Path,
    text: &'a str,
    line_starts: Vec<usize>,
    /// For each piece of the file that is in the text, the number of lines before it, and the number of its first line in the file.
    pieces: Vec<(usize, usize)>,
    problems: RefCell<Vec<Problem>>,
}

/// The values of a file; wiped on drop.
pub(super) struct Values<'a>(DeTable<'a>);

/// Bytes of a line in which columns are counted: in a longer line the count would take quadratic time.
const COLUMNS: usize = 4096;

impl<'a> ConfigText<'a> {
    pub(super) fn of(file: &'a BundleFile) -> Self {
        Self::of_lines(&file.path, &file.text, vec![(0, 1)])
    }

    pub(super) fn of_lines(path: &'a Path, text: &'a str, pieces: Vec<(usize, usize)>) -> Self {
        let newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            path,
            text,
            pieces,
            line_starts: std::iter::once(0).chain(newlines).collect(),
            problems: RefCell::default(),
        }
    }

    pub(super) fn has(&self, words: &str) -> bool {
        self.text.contains(words)
    }

    pub(super) fn values(&self) -> Option<Values<'a>> {
        // The error's own text shows the line, which may hold a key; its message does not.
        let error = match DeTable::parse(self.text) {
            Ok(values) => return Some(Values(values.into_inner())),
            Err(error) => error,
        };
        let cure = match error.message() {
            "duplicate key" => "keep one of the two",
            _ => "check quotes, brackets and equals signs here; texts need quotes",
        };
        let what = format!("this is not TOML: {}", error.message());
        self.refuse(error.span().unwrap_or_default().start, refusal(what, cure));
        None
    }

    pub(super) fn refuse(&self, at: usize, refusal: Refusal) {
        let (line, column) = self.place(at);
        self.refuse_other(Problem {
            file: self.path.to_owned(),
            line: Some(line),
            column,
            what: refusal.what,
            cure: refusal.cure,
        });
    }

    /// Notes a problem of another file that this one names.
    pub(super) fn refuse_other(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// The value; `None`, with a problem noted, if it is refused.
    pub(super) fn check<T>(&self, at: usize, result: Result<T, Refusal>) -> Option<T> {
        result.map_err(|refusal| self.refuse(at, refusal)).ok()
    }

    pub(super) fn place(&self, at: usize) -> (usize, Option<usize>) {
        let line = self.line_starts.partition_point(|start| *start <= at);
        let start = self.line_starts.get(line.saturating_sub(1));
        let start = start.copied().unwrap_or_default();
        let before = self.text.get(start..at).unwrap_or_default();
        let column = before.len() <= COLUMNS;
        let pieces = self.pieces.iter().rev();
        let mut pieces = pieces.filter(|(before, _)| *before < line);
        let (before_piece, first) = pieces.next().copied().unwrap_or((0, 1));
        let line = line.saturating_sub(before_piece.saturating_add(1));
        (
            line.saturating_add(first),
            column.then(|| before.chars().count() + 1),
        )
    }

    pub(super) fn place_name(&self, at: usize) -> String {
        format!("{}:{}", self.path.display(), self.place(at).0)
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| (problem.line.is_none(), problem.line, problem.column));
        problems
    }
}

impl<'a> Deref for Values<'a> {
    type Target = DeTable<'a>;

    fn deref(&self) -> &DeTable<'a> {
        &self.0
    }
}

impl Drop for Values<'_> {
    fn drop(&mut self) {
        wipe_table(std::mem::take(&mut self.0));
    }
}

fn wipe_table(table: DeTable<'_>) {
    for (key, value) in table {
        wipe_text(key.into_inner());
        wipe_value(value);
    }
}

fn wipe_value(value: Spanned<DeValue<'_>>) {
    match value.into_inner() {
        DeValue::String(text) => wipe_text(text),
        DeValue::Array(items) => items.into_iter().for_each(wipe_value),
        DeValue::Table(table) => wipe_table(table),
        _ => {}
    }
}

fn wipe_text(text: Cow<'_, str>) {
    if let Cow::Owned(mut text) = text {
        text.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_characters_from_one() {
        let file = BundleFile::new("p", "ab\nü =1\n\n");
        let text = ConfigText::of(&file);
        let places = [0, 1, 3, 6, 9, 10].map(|at| text.place(at));
        let expected = [(1, 1), (1, 2), (2, 1), (2, 3), (3, 1), (4, 1)];
        assert_eq!(places, expected.map(|(line, column)| (line, Some(column))));
    }
}
