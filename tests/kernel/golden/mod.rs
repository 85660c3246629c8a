//! Golden files: what every command of both programs prints as help, text and JSON, byte for byte except what varies.
//!
//! `POSTERN_WRITE_GOLDEN=1 cargo test --test kernel golden::` writes them again. The commands run on the hosts of the
//! documentation, in cases that share them. Each key in JSON output must be documented in `docs/json.md`.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use libtest_mimic::Trial;

mod cases;
mod commands;
mod masks;
mod stage;

use cases::{CASES, Case};
use commands::Kind;
use postern_harness::{Machine, Requirement, repository};
use stage::Transcripts;

/// What the hosts need beside namespaces.
const NEEDS: &[Requirement] = &[
    Requirement::Root,
    Requirement::Program("ip"),
    Requirement::Program("bash"),
    Requirement::Program("nft"),
    Requirement::Program("iptables"),
    Requirement::Program("python3"),
];

pub(crate) fn tests(machine: &Machine) -> Vec<Trial> {
    if std::env::var_os("POSTERN_WRITE_GOLDEN").is_some() {
        assert!(machine.meets(NEEDS), "this machine cannot run all commands");
        return vec![machine.trial("written", NEEDS, write_anew)];
    }
    let mut trials = vec![
        machine.trial(
            "every_command_has_its_files",
            &[],
            every_command_has_its_files,
        ),
        machine.trial("json_keys_are_documented", &[], json_keys_are_documented),
    ];
    let help = |(_, kind): &(String, Kind)| *kind == Kind::Help;
    for (command, kind) in commands::all().into_iter().filter(help) {
        let name = commands::file(&command, kind);
        trials.push(machine.trial(name.clone(), &[], move || {
            expect_same(&name, &commands::help(&command))
        }));
    }
    trials.extend(played(machine));
    trials
}

/// A trial for each file of each case; first one of every case, so that all begin at once.
fn played(machine: &Machine) -> Vec<Trial> {
    let mut files = Vec::new();
    for case in CASES {
        let shared = Shared {
            case,
            told: Arc::default(),
        };
        files.extend(
            case.files()
                .into_iter()
                .enumerate()
                .map(|(turn, name)| (turn, name, shared.clone())),
        );
    }
    files.sort_by_key(|(turn, ..)| *turn);
    let trial = |(_, name, shared): (usize, String, Shared)| {
        machine.trial(name.clone(), NEEDS, move || {
            expect_same(&name, shared.told().get(&name).map_or("", String::as_str))
        })
    };
    files.into_iter().map(trial).collect()
}

/// A case that is run once, for all its files.
#[derive(Clone)]
struct Shared {
    case: &'static Case,
    told: Arc<OnceLock<Result<Transcripts, String>>>,
}

impl Shared {
    fn told(&self) -> &Transcripts {
        let given = || std::panic::catch_unwind(|| self.case.give()).map_err(|why| said(&*why));
        self.told
            .get_or_init(given)
            .as_ref()
            .unwrap_or_else(|why| panic!("the case {} stopped: {why}", self.case.name))
    }
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "it panicked".to_owned())
}

fn folder() -> PathBuf {
    repository().join("tests/kernel/golden/files")
}

fn expect_same(name: &str, printed: &str) {
    let kept = fs::read_to_string(folder().join(name)).unwrap_or_default();
    if kept == printed {
        return;
    }
    let (old, new): (Vec<&str>, Vec<&str>) = (kept.lines().collect(), printed.lines().collect());
    let at = (0..old.len().max(new.len()))
        .find(|at| old.get(*at) != new.get(*at))
        .unwrap_or_default();
    let line = |lines: &[&str]| {
        lines
            .get(at)
            .map_or("(nothing)".to_owned(), |line| (*line).to_owned())
    };
    panic!(
        "{name}, line {}:\n  kept:    {}\n  printed: {}\nif that is meant: POSTERN_WRITE_GOLDEN=1 cargo test --test kernel golden::\n--- all that was printed\n{printed}",
        at + 1,
        line(&old),
        line(&new)
    );
}

/// The files of a case that stops stay as they were.
fn write_anew() {
    fs::create_dir_all(folder()).unwrap();
    let wanted: BTreeSet<String> = commands::all()
        .into_iter()
        .map(|(command, kind)| commands::file(&command, kind))
        .collect();
    for left in there().difference(&wanted) {
        fs::remove_file(folder().join(left)).unwrap();
    }
    let write = |name: &str, text: &str| fs::write(folder().join(name), text).unwrap();
    for (command, kind) in commands::all()
        .into_iter()
        .filter(|(_, kind)| *kind == Kind::Help)
    {
        write(&commands::file(&command, kind), &commands::help(&command));
    }
    let given: Vec<_> = CASES
        .iter()
        .map(|case| std::thread::spawn(move || (case, case.give())))
        .collect();
    let (told, stopped): (Vec<_>, Vec<_>) = given
        .into_iter()
        .map(std::thread::JoinHandle::join)
        .partition(Result::is_ok);
    for (case, told) in told.into_iter().flatten() {
        told.iter().for_each(|(name, text)| write(name, text));
        let (said, named): (BTreeSet<String>, _) = (
            told.into_keys().collect(),
            case.files().into_iter().collect(),
        );
        assert_eq!(
            said, named,
            "the case {} runs these commands, and names those",
            case.name
        );
    }
    assert!(stopped.is_empty(), "{} cases stopped", stopped.len());
}

fn there() -> BTreeSet<String> {
    fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// A new command fails here until it is in a case.
fn every_command_has_its_files() {
    let wanted: BTreeSet<String> = commands::all()
        .into_iter()
        .map(|(command, kind)| commands::file(&command, kind))
        .collect();
    let there = there();
    let given: Vec<String> = CASES.iter().flat_map(Case::files).collect();
    let missing: Vec<_> = wanted.difference(&there).collect();
    let left: Vec<_> = there.difference(&wanted).collect();
    assert!(
        missing.is_empty() && left.is_empty(),
        "without a golden file: {missing:?}; of no command: {left:?}"
    );
    for name in wanted.iter().filter(|name| !name.ends_with(".help")) {
        assert_eq!(
            given.iter().filter(|one| *one == name).count(),
            1,
            "{name} is in one case and no other"
        );
    }
}

/// Every key of an object that a command prints is in docs/json.md, and every key in docs/json.md is printed by a command.
fn json_keys_are_documented() {
    let page = fs::read_to_string(repository().join("docs/json.md")).unwrap();
    let name = regex::Regex::new("`([a-z0-9_]+)`").unwrap();
    let documented: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
        .flat_map(|cell| name.captures_iter(cell))
        .map(|found| found.extract::<1>().1[0])
        .collect();
    let key = regex::Regex::new(r#""([a-z0-9_]+)" ?:"#).unwrap();
    let names = there().into_iter().filter(|name| name.ends_with(".json"));
    let printed: String = names
        .map(|name| fs::read_to_string(folder().join(name)).unwrap())
        .collect();
    let printed: BTreeSet<&str> = key
        .captures_iter(&printed)
        .map(|found| found.extract::<1>().1[0])
        .collect();
    assert_eq!(printed, documented, "keys printed and keys in docs/json.md");
}
