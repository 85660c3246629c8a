//! The twelve mistakes that an administrator makes are all in the page about them, and each ends in a line that names it.
//!
//! That the lines are what the programs print, and that the mistakes are made, is the page's own test.

use std::fs;
use std::path::Path;

use libtest_mimic::Failed;

const PAGE: &str = "docs/when-a-knock-does-not-work.md";

const MISTAKES: [&str; 12] = [
    "Wrong key",
    "Wrong clock",
    "Another gate's name",
    "Service not allowed",
    "Address outside networks",
    "Quota spent",
    "Replay",
    "Interface misnamed",
    "Port blocked by a later rule",
    "Key that others can read",
    "Typo in the config",
    "Daemon not running",
];

/// A row of the page's table: the mistake, where it is made, on how many sides it is named, and by which words.
struct Row<'a> {
    mistake: &'a str,
    anchor: &'a str,
    sides: usize,
    words: Vec<&'a str>,
}

pub(crate) fn all_are_named() -> Result<(), Failed> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE)).unwrap();
    let rows: Vec<Row<'_>> = text.lines().filter_map(Row::read).collect();
    let mistakes: Vec<&str> = rows.iter().map(|row| row.mistake).collect();
    assert_eq!(mistakes, MISTAKES, "the table of {PAGE}");
    for row in &rows {
        let section = section(&text, row.anchor)
            .ok_or_else(|| format!("{PAGE}: no section #{}", row.anchor))?;
        let says_so = |lines: &Vec<&str>| {
            row.words
                .iter()
                .any(|words| lines.iter().any(|line| line.contains(words)))
        };
        let named: Vec<Vec<&str>> = shown(section).into_iter().filter(says_so).collect();
        if named.len() < row.sides {
            return Err(format!(
                "{}: {} sides should say {:?}: {named:?}",
                row.mistake, row.sides, row.words
            )
            .into());
        }
        for lines in named {
            let count = lines
                .iter()
                .filter(|line| row.words.iter().any(|words| line.contains(words)))
                .count();
            assert_eq!(count, 1, "{}: one line names it: {lines:?}", row.mistake);
        }
    }
    Ok(())
}

impl<'a> Row<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let (mistake, rest) = line.strip_prefix("| [")?.split_once("](#")?;
        let (anchor, rest) = rest.split_once(") | ")?;
        let (who, words) = rest.split_once(" | ")?;
        Some(Self {
            mistake,
            anchor,
            sides: who.split(" and ").count(),
            words: words.split('`').skip(1).step_by(2).collect(),
        })
    }
}

/// What stands below the heading that a browser gives this anchor.
fn section<'a>(text: &'a str, anchor: &str) -> Option<&'a str> {
    text.split("\n## ").skip(1).find(|section| {
        section
            .lines()
            .next()
            .is_some_and(|heading| as_anchor(heading) == anchor)
    })
}

fn as_anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| {
        if c == ' ' {
            '-'
        } else {
            c.to_ascii_lowercase()
        }
    })
    .collect()
}

/// The lines below each command of a section, and those of what goes on.
fn shown(section: &str) -> Vec<Vec<&str>> {
    let (mut all, mut inside): (Vec<Vec<&str>>, bool) = (Vec::new(), false);
    for line in section.lines() {
        if line.starts_with("```") {
            inside = line.starts_with("```console");
            all.push(Vec::new());
        } else if inside && line.contains("$ ") {
            all.push(Vec::new());
        } else if let Some(last) = all.last_mut().filter(|_| inside) {
            last.push(line);
        }
    }
    all
}
