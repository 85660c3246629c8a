//! What the fuzzers look for, under plain `cargo test`: every seed in `fuzz/seeds/` goes through its target's entry.
//!
//! The seeds of `packet` and `body` come from the vectors; `POSTERN_WRITE_SEEDS=1 cargo test --test corpus` writes them.
//! An input that a fuzzer failed on is added beside them under a name that says what was wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

#[path = "../fuzz/entries/body.rs"]
mod body;
#[path = "../fuzz/entries/packet.rs"]
mod packet;

const NAMES: [&str; 2] = ["body", "packet"];

fn folder(under: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(under)
}

#[expect(clippy::disallowed_methods, reason = "seeds and vectors are files")]
fn read_all(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())).map(|file| file.unwrap().path());
    files.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap())).collect()
}

fn replay(target: &str, run: fn(&[u8])) {
    let seeds = read_all(&folder("fuzz/seeds").join(target));
    assert!(!seeds.is_empty(), "{target} has no seeds");
    for (name, data) in seeds {
        println!("{target}/{name}"); // shown when the entry fails
        run(&data);
    }
}

#[test]
fn every_seed_of_body_passes() {
    replay("body", body::run);
}

#[test]
fn every_seed_of_packet_passes() {
    replay("packet", packet::run);
}

#[test]
fn every_target_has_an_entry_and_seeds_and_is_replayed_here() {
    let names: BTreeSet<_> = NAMES.map(|name| format!("{name}.rs")).into();
    let file_names = |under: &str| -> BTreeSet<_> { read_all(&folder(under)).into_keys().collect() };
    assert_eq!(file_names("fuzz/fuzz_targets"), names);
    assert_eq!(file_names("fuzz/entries"), names);
}

#[test]
fn the_seeds_stay_small() {
    let all: Vec<_> = NAMES.iter().flat_map(|name| read_all(&folder("fuzz/seeds").join(name)).into_values()).collect();
    let bytes: usize = all.iter().map(Vec::len).sum();
    assert!(all.len() < 300 && bytes < 300_000, "{} files, {bytes} bytes", all.len());
}

/// Targets that fail on nothing would find nothing: the entries do get to what they are there for.
#[test]
fn the_seeds_reach_accepted_requests_and_every_rule() {
    let mut accepted = 0;
    let mut rules = BTreeSet::new();
    for data in read_all(&folder("fuzz/seeds/packet")).into_values() {
        if let Some((1, rest)) = data.split_first() {
            match postern_proto::Request::decode(&rest[12..]) {
                Ok(_) => accepted += 1,
                Err(rule) => _ = rules.insert(rule),
            }
        }
    }
    assert!(accepted >= 10, "{accepted}");
    assert_eq!(rules, postern_proto::Malformed::ALL.into());
}

// --- seeds from the vectors -----------------------------------------------------------------------------------------

struct Vector(Value);

impl Vector {
    fn text<'a>(&'a self, pointer: &str) -> &'a str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    fn bytes(&self, field: &str) -> Vec<u8> {
        let text = self.text(field);
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    fn accepted(&self) -> bool {
        !matches!(self.text("/outcome/reason"), "malformed" | "length")
    }
}

fn vectors() -> BTreeMap<String, Vector> {
    let files = read_all(&folder("proto/tests/vectors"));
    files
        .into_iter()
        .map(|(name, text)| (name.trim_end_matches(".json").to_owned(), Vector(serde_json::from_slice(&text).unwrap())))
        .collect()
}

/// The first vector of each reason and rule, and every one whose body is read.
fn seeds() -> BTreeMap<(&'static str, String), Vec<u8>> {
    let mut seeds = BTreeMap::new();
    let mut kinds = BTreeSet::new();
    let mut bodies = BTreeSet::new();
    for (name, vector) in vectors() {
        let first_of_kind = kinds.insert((vector.text("/outcome/reason").to_owned(), vector.text("/outcome/rule").to_owned()));
        let (body, nonce) = (vector.bytes("/body"), vector.bytes("/nonce"));
        if first_of_kind {
            seeds.insert(("packet", format!("sent-{name}")), [&[0], &vector.bytes("/packet_hex")[..]].concat());
        }
        if (first_of_kind || vector.accepted()) && bodies.insert(body.clone()) {
            seeds.insert(("packet", format!("sealed-{name}")), [&[1], &nonce[..], &body].concat());
            seeds.insert(("body", name), body);
        }
    }
    seeds
}

#[test]
fn the_seeds_that_the_vectors_give_are_there() {
    let write = std::env::var_os("POSTERN_WRITE_SEEDS").is_some();
    for ((target, name), data) in seeds() {
        let path = folder("fuzz/seeds").join(target).join(name);
        if write {
            put(&path, &data);
        }
        assert_eq!(get(&path).as_ref(), Some(&data), "{}: write it with POSTERN_WRITE_SEEDS=1", path.display());
    }
}

#[expect(clippy::disallowed_methods, reason = "seeds are files")]
fn put(path: &Path, data: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, data).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "seeds are files")]
fn get(path: &Path) -> Option<Vec<u8>> {
    fs::read(path).ok()
}
