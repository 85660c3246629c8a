//! Documents name what exists: every test, file and folder of this repository that a page mentions.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regex::Regex;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|found| found == ending) {
            found.push(path);
        }
    }
    found
}

fn pages() -> BTreeMap<PathBuf, String> {
    let mut paths = files(&root().join("docs"), "md");
    for name in [
        "README.md",
        "SECURITY.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "proto/README.md",
        "fwknop/README.md",
        "sequence/README.md",
        "fuzz/README.md",
    ] {
        paths.push(root().join(name));
    }
    let read = |path: PathBuf| (path.clone(), std::fs::read_to_string(path).unwrap());
    paths.into_iter().map(read).collect()
}

/// The code below a path, in one text.
fn code(path: &str) -> String {
    let path = root().join(path);
    let paths = if path.is_dir() {
        files(&path, "rs")
    } else {
        vec![path]
    };
    paths
        .into_iter()
        .map(|path| std::fs::read_to_string(path).unwrap_or_default())
        .collect()
}

#[test]
fn tests_in_pages_exist() {
    let reference = Regex::new(r"`((?:tests|src|proto|fuzz)/[\w/.]+): (?:\w+::)*(\w+)`").unwrap();
    let mut seen = 0;
    let mut missing = Vec::new();
    for (page, text) in pages() {
        for found in reference.captures_iter(&text) {
            seen += 1;
            let name = Regex::new(&format!(r"\b{}\b", &found[2])).unwrap();
            if !name.is_match(&code(&found[1])) {
                missing.push(format!("{}: {}", page.display(), &found[0]));
            }
        }
    }
    assert!(missing.is_empty(), "no such test:\n{}", missing.join("\n"));
    assert!(seen > 50, "only {seen} references found");
}

#[test]
fn files_in_pages_exist() {
    let path = Regex::new(r"`((?:src|tests|proto|fuzz|dist|docs|benches)/[\w/.-]+)").unwrap();
    let link = Regex::new(r"\]\(([\w./-]+\.(?:md|rs|sh))(?:#[\w-]+)?\)").unwrap();
    let mut missing = Vec::new();
    for (page, text) in pages() {
        for found in path.captures_iter(&text) {
            let named = found[1].trim_end_matches('.');
            // The pages of proto and fuzz name files beside them.
            let beside = page.parent().unwrap().join(named);
            if !root().join(named).exists() && !beside.exists() {
                missing.push(format!("{}: {}", page.display(), &found[1]));
            }
        }
        for found in link.captures_iter(&text) {
            if !page.parent().unwrap().join(&found[1]).exists() {
                missing.push(format!("{}: {}", page.display(), &found[1]));
            }
        }
    }
    assert!(missing.is_empty(), "no such file:\n{}", missing.join("\n"));
}

#[test]
fn code_cites_only_documents_of_this_repository() {
    let cited =
        Regex::new(r"\b(DESIGN|PROTOCOL|FOREIGN|CRATES|STYLE)(\.md)?\b,? (section|step|\d)")
            .unwrap();
    let mut wrong = Vec::new();
    for folder in [
        "src", "proto", "fwknop", "sequence", "tests", "fuzz", "benches",
    ] {
        for path in files(&root().join(folder), "rs") {
            if path.ends_with("documents.rs") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            wrong.extend(
                cited
                    .find_iter(&text)
                    .map(|found| format!("{}: {}", path.display(), found.as_str())),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
