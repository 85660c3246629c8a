//! The README tells the truth about the tree: its code map has one line for every source file, and no other.
//! `POSTERN_WRITE_MAP=1 cargo test --test readme` writes the map anew from the first sentence of each file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::fs;
use std::path::{Path, PathBuf};

const START: &str =
    "### Code map\n\n<details>\n<summary>One line for every source file</summary>\n";
const END: &str = "\n</details>\n";

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        if entry.is_dir() {
            sources(&entry, found);
        } else if entry.extension().is_some_and(|ending| ending == "rs")
            && !entry.ends_with("tests.rs")
        {
            found.push(entry);
        }
    }
}

/// The first sentence of a file's own description.
fn about(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let lines = text
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(str::trim);
    let words = lines
        .take_while(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    let end = words.find(". ").map_or(words.len(), |at| at + 1);
    words[..end]
        .trim_end_matches('.')
        .replace("[`", "`")
        .replace("`]", "`")
}

fn map(root: &Path) -> String {
    let mut files = Vec::new();
    for folder in ["proto/src", "src"] {
        sources(&root.join(folder), &mut files);
    }
    files.retain(|file| !file.components().any(|part| part.as_os_str() == "tests"));
    files.sort();
    assert!(files.len() > 80, "the sources are not found");
    let line = |file: &PathBuf| {
        let name = file.strip_prefix(root).unwrap().display().to_string();
        format!("- [{name}]({name}): {}\n", about(file))
    };
    files.iter().map(line).collect()
}

#[test]
fn the_code_map_has_one_line_for_every_source_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once(START).expect("the code map's heading");
    let (found, after) = rest
        .split_once(END)
        .expect("the heading after the code map");
    let wanted = format!("\n{}", map(root));
    if std::env::var_os("POSTERN_WRITE_MAP").is_some() {
        fs::write(&path, format!("{before}{START}{wanted}{END}{after}")).unwrap();
        return;
    }
    let differing = wanted
        .lines()
        .find(|line| !found.contains(line))
        .or_else(|| found.lines().find(|line| !wanted.contains(line)));
    assert!(
        found == wanted,
        "write it anew with POSTERN_WRITE_MAP=1 cargo test --test readme; the first difference: {differing:?}"
    );
}
