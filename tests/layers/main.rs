//! Folders are layers (ARCHITECTURE.md): a file imports only from its own layer and the layers below it, adapters do
//! not import each other, and no two files import each other in a circle.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use imports::{Crate, Import};

mod imports;

/// Folders of `src`, the lowest layer first.
const LAYERS: [&[&str]; 6] = [
    &["model"],
    &["core"],
    &["adapters"],
    &["daemon", "client"],
    &["admin"],
    &["cli"],
];

/// The adapters that every adapter may import. `netlink` is the socket that nftables and conntrack share.
const SMALL_ADAPTERS: [&str; 5] = ["files", "clock", "random", "log", "netlink"];

/// Words that pure code must not contain (invariant 1).
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

const UNSAFE: &str = "src/adapters/capture/hint_filter/kernel.rs";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn source_files(folder: &str) -> Vec<PathBuf> {
    let mut open = vec![root().join(folder)];
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(
                std::fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    assert!(!found.is_empty(), "{folder} has no source files");
    found
}

/// The path below `src`, in parts.
fn parts(file: &Path) -> Vec<String> {
    let inside = file.strip_prefix(root().join("src")).unwrap();
    inside
        .iter()
        .map(|part| part.to_str().unwrap().trim_end_matches(".rs").to_owned())
        .collect()
}

fn layer(file: &Path) -> Option<usize> {
    let folder = parts(file).remove(0);
    LAYERS
        .iter()
        .position(|folders| folders.contains(&folder.as_str()))
}

fn breaks_a_rule((file, other, _): &Import) -> bool {
    let (Some(own), Some(imported)) = (layer(file), layer(other)) else {
        return false;
    };
    let (own_parts, other_parts) = (parts(file), parts(other));
    let is_adapter = |parts: &[String]| parts[0] == "adapters" && parts.len() > 1;
    let crosses = is_adapter(&own_parts)
        && is_adapter(&other_parts)
        && own_parts[1] != other_parts[1]
        && !SMALL_ADAPTERS.contains(&other_parts[1].as_str());
    imported > own || crosses
}

fn circles(imports: &BTreeSet<Import>) -> Vec<BTreeSet<PathBuf>> {
    let mut reach: BTreeMap<&Path, BTreeSet<&Path>> = BTreeMap::new();
    for (file, other, _) in imports {
        reach.entry(file).or_default().insert(other);
    }
    let all_from = |start: &Path| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
        while let Some(file) = open.pop() {
            for next in reach.get(file).into_iter().flatten() {
                if seen.insert(next.to_path_buf()) {
                    open.push(next);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&Path, BTreeSet<PathBuf>> =
        reach.keys().map(|file| (*file, all_from(file))).collect();
    let mut groups = BTreeSet::new();
    for (file, others) in &reached {
        if others.contains(*file) {
            let together = |other: &&PathBuf| {
                reached
                    .get(other.as_path())
                    .is_some_and(|back| back.contains(*file))
            };
            groups.insert(
                others
                    .iter()
                    .filter(together)
                    .cloned()
                    .collect::<BTreeSet<_>>(),
            );
        }
    }
    groups.into_iter().collect()
}

fn imports_of(folder: &str) -> BTreeSet<Import> {
    Crate::read(&root().join(folder)).imports()
}

fn told(imports: &BTreeSet<Import>, group: &BTreeSet<PathBuf>) -> String {
    let inside = imports
        .iter()
        .filter(|(file, other, _)| group.contains(file) && group.contains(other));
    let short = |path: &Path| path.strip_prefix(root()).unwrap().display().to_string();
    inside
        .map(|(file, other, item)| format!("{} -> {}: {item}\n", short(file), short(other)))
        .collect()
}

#[test]
fn imports_point_down() {
    let imports = imports_of("src");
    assert!(imports.len() > 500, "only {} imports found", imports.len());
    let wrong: Vec<&Import> = imports
        .iter()
        .filter(|import| breaks_a_rule(import))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    for folder in ["src", "proto/src", "fwknop/src", "sequence/src"] {
        let imports = imports_of(folder);
        let found: Vec<String> = circles(&imports)
            .iter()
            .map(|group| told(&imports, group))
            .collect();
        assert!(
            found.is_empty(),
            "{} circles:\n{}",
            found.len(),
            found.join("\n")
        );
    }
}

#[test]
fn pure_code_touches_no_clock_file_socket_or_thread() {
    for file in [
        "proto/src",
        "fwknop/src",
        "sequence/src",
        "src/model",
        "src/core",
    ]
    .into_iter()
    .flat_map(source_files)
    {
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let code: Vec<&str> = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect();
        for word in IMPURE {
            assert!(
                !code.join("\n").contains(word),
                "{}: {word}",
                file.display()
            );
        }
    }
}

#[test]
fn unsafe_code_stays_in_one_file() {
    let mut blocks = 0;
    for file in ["src", "proto/src", "fwknop/src", "sequence/src"]
        .into_iter()
        .flat_map(source_files)
    {
        let text = std::fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for (at, line) in lines.iter().enumerate() {
            let words = line.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
            if line.starts_with("//") || !words.into_iter().any(|word| word == "unsafe") {
                continue;
            }
            blocks += 1;
            assert!(file.ends_with(UNSAFE), "{}:{}", file.display(), at + 1);
            let mut above = lines[..at]
                .iter()
                .rev()
                .take_while(|line| line.starts_with("//"));
            let has_reason =
                above.any(|line| line.contains("SAFETY:") || line.contains("# Safety"));
            assert!(
                has_reason,
                "{}:{}: say why it is sound",
                file.display(),
                at + 1
            );
        }
    }
    assert!(blocks >= 3, "{UNSAFE} has unsafe code no more");
    for lib in [
        "proto/src/lib.rs",
        "fwknop/src/lib.rs",
        "sequence/src/lib.rs",
    ] {
        let lib = std::fs::read_to_string(root().join(lib)).unwrap();
        assert!(lib.contains("#![forbid(unsafe_code)]"));
    }
}

#[test]
fn program_files_are_short() {
    let mut lengths = Vec::new();
    for folder in ["src", "proto/src", "fwknop/src", "sequence/src"] {
        for file in Crate::read(&root().join(folder)).files() {
            let text = std::fs::read_to_string(file).unwrap();
            let program = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            lengths.push((program.lines().count(), file.to_owned()));
        }
    }
    lengths.sort();
    let long: Vec<_> = lengths.iter().filter(|(lines, _)| *lines > 500).collect();
    assert!(long.is_empty(), "{long:?}");
    let median = &lengths[lengths.len() / 2];
    assert!(median.0 <= 150, "the median is {median:?}");
}
