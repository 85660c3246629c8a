//! The layer rule of the house, read off the imports: a module imports only from its own row or the rows above it
//! (lower numbers), and no adapter imports another.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Each module of `src/` and its row. The `postern-proto` crate is row 0.
const ROWS: [(usize, &[&str]); 5] = [
    (
        1,
        &[
            "address", "bundle", "datagram", "endpoint", "enrol", "figures", "grant", "keep",
            "manual", "mark", "opening", "policy", "reason", "recipe", "run", "service",
            "settings", "stop", "stun", "terms", "time",
        ],
    ),
    (2, &["gate", "ledger", "order"]),
    (
        3,
        &[
            "backend",
            "capture",
            "clock",
            "config",
            "connections",
            "control",
            "files",
            "link",
            "log",
            "metrics",
            "notify",
            "profile",
            "program",
            "random",
            "sandbox",
            "store",
        ],
    ),
    (4, &["admin", "client", "engine", "explain", "monitor"]),
    (5, &["cli", "demo"]),
];
const ADAPTERS: usize = 3;

/// Words that the pure rows must not contain (invariant 1).
const IMPURE: [&str; 11] = [
    "std::fs",
    "std::net::Udp",
    "std::net::Tcp",
    "std::thread",
    "std::process",
    "std::env",
    "SystemTime",
    "Instant::now",
    "std::os::fd",
    "tracing::",
    "static mut",
];

fn row_of(module: &str) -> Option<usize> {
    ROWS.iter()
        .find(|(_, modules)| modules.contains(&module))
        .map(|(row, _)| *row)
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)
        .expect("a folder of sources")
        .map(|entry| entry.unwrap().path())
    {
        if entry.is_dir() {
            found.extend(sources(&entry));
        } else if entry.extension().is_some_and(|ending| ending == "rs") {
            found.push(entry);
        }
    }
    found
}

/// The top-level module that a file belongs to; `None` for the crate root and the binaries.
fn module_of(root: &Path, file: &Path) -> Option<String> {
    let inside = file.strip_prefix(root).unwrap();
    let first = inside
        .iter()
        .next()
        .unwrap()
        .to_str()
        .unwrap()
        .trim_end_matches(".rs")
        .to_owned();
    (first != "lib" && first != "bin").then_some(first)
}

/// The modules that a text imports: every `crate::NAME`, also inside `use crate::{a, b::c}`, tests and docs left out.
fn imports(text: &str) -> Vec<String> {
    let code: String = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap()
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let mut found = Vec::new();
    for piece in code.split("crate::").skip(1) {
        if let Some(group) = piece.strip_prefix('{') {
            let (mut depth, mut word, mut at_start) = (1, String::new(), true);
            for letter in group.chars() {
                match letter {
                    '{' => depth += 1,
                    '}' if depth == 1 => break,
                    '}' => depth -= 1,
                    ',' if depth == 1 => at_start = true,
                    letter
                        if depth == 1
                            && at_start
                            && (letter.is_alphanumeric() || letter == '_') =>
                    {
                        word.push(letter)
                    }
                    letter if letter.is_whitespace() => {}
                    _ => at_start = false,
                }
                if (letter == ',' && depth == 1 || !at_start) && !word.is_empty() {
                    found.push(std::mem::take(&mut word));
                }
            }
            found.extend((!word.is_empty()).then_some(word));
        } else {
            found.push(
                piece
                    .chars()
                    .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
                    .collect(),
            );
        }
    }
    found
}

fn against_the_rule(module: &str, imported: &str) -> bool {
    let (Some(own), Some(other)) = (row_of(module), row_of(imported)) else {
        return false;
    };
    other > own || (own == ADAPTERS && other == ADAPTERS && module != imported)
}

#[test]
fn every_module_has_a_row_and_imports_only_from_its_own_or_those_above() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for file in sources(&root) {
        let Some(module) = module_of(&root, &file) else {
            continue;
        };
        let Some(row) = row_of(&module) else {
            wrong.push(format!("{module} has no row"));
            continue;
        };
        let text = std::fs::read_to_string(&file).unwrap();
        let found = imports(&text);
        *seen.entry(module.clone()).or_default() += found.len();
        wrong.extend(
            found
                .iter()
                .filter(|imported| against_the_rule(&module, imported))
                .map(|imported| format!("{}: {module} imports {imported}", file.display())),
        );
        if row <= 2 {
            let code = text.split("#[cfg(test)]").next().unwrap();
            wrong.extend(
                IMPURE
                    .iter()
                    .filter(|word| code.contains(**word))
                    .map(|word| format!("{}: {word} in a pure row", file.display())),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        seen.len() >= 20 && seen.values().sum::<usize>() > 100,
        "the test no longer finds the imports: {seen:?}"
    );
}

#[test]
fn the_test_sees_an_import_in_every_form_it_can_take() {
    let text = "use crate::monitor::desk;\nuse crate::{clock, store::{disk, memory}, cli};\nfn f() { crate::engine::run() }\n// crate::demo\n#[cfg(test)]\nmod tests {\nuse crate::bundle;\n}";
    assert_eq!(
        imports(text),
        ["monitor", "clock", "store", "cli", "engine"]
    );
    assert!(
        against_the_rule("gate", "store")
            && against_the_rule("store", "clock")
            && against_the_rule("backend", "monitor")
    );
    assert!(
        !against_the_rule("gate", "time")
            && !against_the_rule("store", "store")
            && !against_the_rule("monitor", "store")
    );
}

#[test]
fn proto_is_pure_and_imports_nothing_of_the_program() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/src");
    let files = sources(&root);
    assert!(files.len() > 5);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        for word in IMPURE.iter().chain(&["postern::", "getrandom"]) {
            assert!(!code.contains(word), "{}: {word}", file.display());
        }
    }
}

/// The one file with unsafe code; each block in it says why it is sound.
const UNSAFE: &str = "src/capture/hint_filter/kernel.rs";

#[test]
fn unsafe_code_stands_in_one_file_and_every_block_says_why_it_is_sound() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut blocks = 0;
    for file in ["src", "proto/src"]
        .iter()
        .flat_map(|folder| sources(&root.join(folder)))
    {
        let text = std::fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let is_unsafe = |line: &str| {
            !line.starts_with("//")
                && line
                    .split(|c: char| !c.is_alphanumeric() && c != '_')
                    .any(|word| word == "unsafe")
        };
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| is_unsafe(line)) {
            assert!(
                file.ends_with(UNSAFE),
                "{}:{}: {line}",
                file.display(),
                at + 1
            );
            let reason = lines[..at]
                .iter()
                .rev()
                .take_while(|line| line.starts_with("//"))
                .any(|line| line.contains("SAFETY:") || line.contains("# Safety"));
            assert!(
                reason,
                "{}:{}: no word of why this is sound: {line}",
                file.display(),
                at + 1
            );
            blocks += 1;
        }
    }
    assert!(blocks >= 3, "the test no longer finds {UNSAFE}");
    let proto = std::fs::read_to_string(root.join("proto/src/lib.rs")).unwrap();
    assert!(proto.contains("#![forbid(unsafe_code)]"));
}

#[test]
fn no_file_is_longer_than_450_lines_and_the_median_is_under_250() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut lengths: Vec<(usize, PathBuf)> = Vec::new();
    for folder in ["src", "proto/src", "proto/tests", "tests", "benches"] {
        if root.join(folder).exists() {
            lengths.extend(sources(&root.join(folder)).into_iter().map(|file| {
                (
                    std::fs::read_to_string(&file).unwrap().lines().count(),
                    file,
                )
            }));
        }
    }
    lengths.sort();
    let long: Vec<_> = lengths.iter().filter(|(lines, _)| *lines > 450).collect();
    assert!(long.is_empty(), "{long:?}");
    assert!(
        lengths[lengths.len() / 2].0 < 250,
        "the median is {:?}",
        lengths[lengths.len() / 2]
    );
}
