//! Golden files: what every command of both programs prints, as help, as text and as JSON, byte for byte but for what varies.
//!
//! `POSTERN_WRITE_GOLDEN=1 cargo test --test golden` writes them anew. Commands are typed on the machines of the documentation
//! (tests/docs), in cases that share them. What is in JSON must be what `docs/json.md` states, and all that it states must be in there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Failed, Trial};

mod cases;
mod commands;
#[path = "../docs/machine.rs"]
#[allow(dead_code, reason = "the pages use more of it")]
mod machine;
mod masks;
#[path = "../netns/mod.rs"]
#[allow(dead_code, reason = "other tests use more of it")]
mod netns;
mod page;
mod shapes;
mod stage;
#[path = "../docs/world.rs"]
mod world;

use cases::{CASES, Case};
use commands::Kind;
use netns::ground::{Ground, Need};
use stage::Transcripts;

/// What the machines need beside namespaces.
const NEEDS: &[Need] = &[
    Need::Users,
    Need::Program("ip"),
    Need::Program("bash"),
    Need::Program("nft"),
    Need::Program("iptables"),
    Need::Program("python3"),
];

fn main() -> ExitCode {
    let ground = Ground::find();
    if std::env::var_os("POSTERN_WRITE_GOLDEN").is_some() {
        assert!(
            ground.has(NEEDS),
            "this machine cannot run all commands, so it cannot write what they print"
        );
        write_anew();
        return ExitCode::SUCCESS;
    }
    let mut trials = vec![
        plain(
            "every_command_has_its_files_and_there_is_no_other",
            every_command_has_its_files,
        ),
        plain("what_varies_is_masked_and_nothing_else", masks_are_narrow),
        plain(
            "json_is_what_the_documentation_states",
            shapes::files_are_as_documented,
        ),
        plain(
            "a_shape_that_is_not_documented_is_found",
            shapes::faults_are_found,
        ),
    ];
    for (command, kind) in commands::all()
        .into_iter()
        .filter(|(_, kind)| *kind == Kind::Help)
    {
        let name = commands::file(&command, kind);
        trials.push(plain(&name.clone(), move || {
            expect_same(&name, &commands::help(&command))
        }));
    }
    trials.extend(played(&ground));
    let mut arguments = Arguments::from_args();
    // Plays wait more than they work, so all may be given at once.
    arguments.test_threads.get_or_insert(CASES.len());
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A trial for each file of each case; first one of every case, so that all begin at once.
fn played(ground: &Ground) -> Vec<Trial> {
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
        ground.trial(name.clone(), NEEDS, move || {
            expect_same(&name, shared.told().get(&name).map_or("", String::as_str))
        })
    };
    files.into_iter().map(trial).collect()
}

fn plain(name: &str, test: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        test();
        Ok::<(), Failed>(())
    })
}

/// A case that is given once, for all files that come of it.
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
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/files")
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
        "{name}, line {}:\n  kept:    {}\n  printed: {}\nif that is meant: POSTERN_WRITE_GOLDEN=1 cargo test --test golden\n--- all that was printed\n{printed}",
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
            "the case {} tells of these commands, and names those",
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
    assert!(wanted.len() > 60, "{wanted:?}");
}

fn masks_are_narrow() {
    let masks = masks::Masks::new();
    let key = format!("{}=", "a".repeat(43));
    for (text, masked) in [
        (
            "open for 30s, 10m, quota 30/min",
            "open for 30s, 10m, quota 30/min",
        ),
        ("until 2026-11-22T10:49:57.854Z", "until <time>"),
        (
            "\"left_ms\": 29000, \"duration_s\": 30",
            "\"left_ms\": <ms>, \"duration_s\": 30",
        ),
        (
            "\"timestamp_ms\":1795344060000",
            "\"timestamp_ms\":<epoch-ms>",
        ),
        (
            "tcp/22 to 192.0.2.1:62201 in 1795344060 s",
            "tcp/22 to 192.0.2.1:62201 in 1795344060 s",
        ),
        (key.as_str(), "<key of 44 letters>"),
        (&key[1..], &key[1..]),
        (
            concat!("postern ", env!("CARGO_PKG_VERSION")),
            "postern <version>",
        ),
    ] {
        assert_eq!(masks.put_on(text), masked);
    }
}
