//! One file of a config while it is read: its text as a tree, its lines, and what was found to be wrong in it.
//!
//! Strings of the tree point into the wiped buffer of the bundle; those that cannot (escapes in them) are wiped with the tree.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::ops::{Deref, Range};
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroize;

use super::problem::{Fault, Problem};
use crate::adapters::config::bundle::BundleFile;

pub(super) struct Page<'a> {
    pub(super) path: &'a Path,
    text: &'a str,
    /// Where each line starts, in bytes.
    lines: Vec<usize>,
    problems: Vec<Problem>,
}

/// The values of a file; wiped when dropped.
pub(super) struct Tree<'a>(DeTable<'a>);

/// Runs of this many letters and digits may be a key, or a part of one. As many as a 64-bit hash has digits.
const RUN: usize = 16;
/// Letters of the longest escape, `U0001F6AA`.
const ESCAPE: usize = 9;
/// Bytes of a line in which columns are counted.
const COLUMNS: usize = 4096;

impl<'a> Page<'a> {
    pub(super) fn of(file: &'a BundleFile) -> Self {
        let starts = file
            .text
            .bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'\n')
            .map(|(at, _)| at + 1);
        Self {
            path: &file.path,
            text: &file.text,
            lines: std::iter::once(0).chain(starts).collect(),
            problems: Vec::new(),
        }
    }

    /// The values of the file; `None`, with the first error noted, where it is not TOML.
    pub(super) fn tree(&mut self) -> Option<Tree<'a>> {
        // An error of the TOML reader takes a copy of the whole text with it, which nobody wipes. So a text without keys goes first.
        let shadow = shadow(self.text);
        let parsed = DeTable::parse(&shadow)
            .map(drop)
            .and_then(|()| DeTable::parse(self.text));
        match parsed {
            Ok(tree) => Some(Tree(tree.into_inner())),
            Err(error) => {
                let cure = match error.message() {
                    "duplicate key" => "keep one of the two",
                    _ => {
                        "look at the quotes, brackets and equals signs here; texts and keys stand in quotes"
                    }
                };
                let what = format!("this is not TOML: {}", error.message());
                self.refuse(
                    error.span().unwrap_or_default(),
                    Fault {
                        what,
                        cure: cure.to_owned(),
                    },
                );
                None
            }
        }
    }

    /// Notes what is wrong at a place.
    pub(super) fn refuse(&mut self, span: Range<usize>, fault: Fault) {
        let (line, column) = self.place(span.start);
        self.problems.push(Problem {
            file: self.path.to_owned(),
            line: Some(line),
            column,
            what: fault.what,
            cure: fault.cure,
        });
    }

    /// Notes what is wrong with another file that this one names.
    pub(super) fn refuse_other(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// The value, or a note of what is wrong with it.
    pub(super) fn check<T>(&mut self, span: Range<usize>, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.refuse(span, fault)).ok()
    }

    /// Line and column, both from 1. In a line of absurd length columns are not counted, for that would take a time that grows as its square.
    pub(super) fn place(&self, at: usize) -> (usize, Option<usize>) {
        let line = self.lines.partition_point(|start| *start <= at);
        let start = self
            .lines
            .get(line.saturating_sub(1))
            .copied()
            .unwrap_or_default();
        let near = at.saturating_sub(start) <= COLUMNS;
        (
            line,
            near.then(|| {
                self.text
                    .get(start..at)
                    .map_or(1, |before| before.chars().count() + 1)
            }),
        )
    }

    /// A place as messages about other files name it: `FILE:LINE`.
    pub(super) fn named(&self, at: usize) -> String {
        format!("{}:{}", self.path.display(), self.place(at).0)
    }

    /// In the order of their lines.
    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        self.problems
            .sort_by_key(|problem| (problem.line.is_none(), problem.line, problem.column));
        self.problems
    }
}

/// The same text, but each run of letters that could be of a key is another run as long. Equal runs stay equal and others stay others,
/// and every byte that means something to TOML stands where it stood.
fn shadow(text: &str) -> String {
    let hash = RandomState::new();
    let mut shadow = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (run, after) = rest.split_at(rest.find(|c| !is_key_letter(c)).unwrap_or(rest.len()));
        // Letters behind a backslash may be an escape.
        let escape = if shadow.ends_with('\\') {
            run.len().min(ESCAPE)
        } else {
            0
        };
        let (escape, run) = run.split_at(escape);
        shadow.push_str(escape);
        if run.len() < RUN {
            shadow.push_str(run);
        } else {
            let nibbles = hash
                .hash_one(run)
                .to_be_bytes()
                .into_iter()
                .flat_map(|byte| [byte >> 4, byte & 15]);
            shadow.extend(nibbles.map(|nibble| char::from(b'a' + nibble)));
            shadow.extend(std::iter::repeat_n('x', run.len() - RUN));
        }
        let (others, after) = after.split_at(after.find(is_key_letter).unwrap_or(after.len()));
        shadow.push_str(others);
        rest = after;
    }
    shadow
}

fn is_key_letter(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '+' || c == '/'
}

impl<'a> Deref for Tree<'a> {
    type Target = DeTable<'a>;

    fn deref(&self) -> &DeTable<'a> {
        &self.0
    }
}

impl Drop for Tree<'_> {
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
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn the_shadow_of_a_text_has_its_shape_but_not_its_keys() {
        let text =
            format!("[gate] # ü\nkey = \"{KEY}\"\nlist = ['\\u00e9{KEY}',\n'tcp/22', '{KEY}']\n");
        let shadow = shadow(&text);
        assert_eq!(shadow.len(), text.len());
        assert!(
            !KEY.as_bytes()
                .windows(5)
                .any(|part| shadow.contains(std::str::from_utf8(part).unwrap())),
            "{shadow}"
        );
        let shape = |text: &str| text.replace(|c: char| c.is_ascii_alphanumeric(), "x");
        assert_eq!(shape(&shadow), shape(&text));
        let escaped = BundleFile {
            path: "p".into(),
            text: "a = \"\\u00e9abcdefghijklmnopqrstuvwxyz\\\\abcdefghijklmnopqrstuvwxyz\""
                .to_owned()
                .into(),
        };
        assert!(Page::of(&escaped).tree().is_some());
    }

    #[test]
    fn long_names_of_one_length_stay_different_in_the_shadow_and_equal_ones_equal() {
        let tree = |other: &str| {
            let text = format!("averyverylongservicename1 = 1\n{other} = 1\n");
            Page::of(&BundleFile {
                path: "p".into(),
                text: text.into(),
            })
            .tree()
            .is_some()
        };
        assert!(tree("averyverylongservicename2"));
        assert!(!tree("averyverylongservicename1"));
    }

    proptest! {
        /// The shadow is there for the sake of wiping only: it may refuse nothing that is right, and let nothing through that is wrong.
        #[test]
        fn a_text_is_toml_if_its_shadow_is(parts in proptest::collection::vec(select(PARTS), 0..24)) {
            let text = parts.concat();
            let file = BundleFile { path: "p".into(), text: text.clone().into() };
            let mut page = Page::of(&file);
            let read = page.tree().is_some();
            prop_assert_eq!(read, DeTable::parse(&text).is_ok(), "{}", text);
            prop_assert_eq!(page.into_problems().len(), usize::from(!read));
        }
    }

    const PARTS: &[&str] = &[
        "\n",
        "\n",
        " = ",
        " = ",
        "\"",
        "\"",
        "'",
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        ",",
        ".",
        "#",
        "\\",
        "u00e9",
        "x",
        "key",
        "1",
        "ü",
        "\r\n",
        "\"\"\"",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
        "averyverylongname",
        "averyverylongnane",
    ];

    #[test]
    fn lines_and_columns_count_from_one_and_columns_count_characters() {
        let file = BundleFile {
            path: "p".into(),
            text: String::from("ab\nü =1\n\n").into(),
        };
        let page = Page::of(&file);
        for (at, place) in [
            (0, (1, 1)),
            (1, (1, 2)),
            (3, (2, 1)),
            (6, (2, 3)),
            (9, (3, 1)),
            (10, (4, 1)),
        ] {
            assert_eq!(page.place(at), (place.0, Some(place.1)), "{at}");
        }
    }
}
