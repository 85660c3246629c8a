//! What the fuzzers look for, under plain `cargo test`: every seed in `fuzz/seeds/` goes through its target's entry.
//!
//! Seeds of `packet` and `body` come from the vectors, those of `frame` and `recording` from etherparse; `POSTERN_WRITE_SEEDS=1 cargo test --test corpus` writes them.
//! An input that a fuzzer failed on is added beside them under a name that says what was wrong.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use postern::adapters::capture::recording::{Found, Recorded};
use postern::adapters::control::{Answer, Question};
use postern::core::order::{Order, Report, Start};

#[path = "../fuzz/entries/body.rs"]
mod body;
#[path = "../fuzz/entries/config.rs"]
mod config;
#[path = "../fuzz/entries/control.rs"]
mod control;
#[allow(dead_code, reason = "tests/model/ looks at more of it")]
#[path = "../fuzz/entries/daemon.rs"]
mod daemon;
#[path = "../fuzz/entries/enrol.rs"]
mod enrol;
#[path = "../fuzz/entries/frame.rs"]
mod frame;
#[path = "../fuzz/entries/gate.rs"]
mod gate;
#[path = "../fuzz/entries/hostile_engine.rs"]
mod hostile_engine;
#[path = "../fuzz/entries/knock.rs"]
mod knock;
#[path = "corpus/made.rs"]
mod made;
#[path = "../fuzz/entries/order.rs"]
mod order;
#[path = "../fuzz/entries/packet.rs"]
mod packet;
#[path = "../fuzz/entries/recording.rs"]
mod recording;
#[path = "../fuzz/entries/stun.rs"]
mod stun;
#[path = "recording/written.rs"]
mod written;

const NAMES: [&str; 13] = [
    "body",
    "config",
    "control",
    "enrol",
    "frame",
    "gate",
    "daemon",
    "knock",
    "hostile_engine",
    "order",
    "packet",
    "recording",
    "stun",
];

fn folder(under: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(under)
}

#[expect(clippy::disallowed_methods, reason = "seeds and vectors are files")]
fn read_all(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|file| file.unwrap().path());
    files
        .map(|path| {
            (
                path.file_name().unwrap().to_str().unwrap().to_owned(),
                fs::read(&path).unwrap(),
            )
        })
        .collect()
}

/// With `POSTERN_CORPUS` set also what the fuzzers have gathered on this machine.
fn replay(target: &str, run: fn(&[u8])) {
    let seeds = read_all(&folder("fuzz/seeds").join(target));
    assert!(!seeds.is_empty(), "{target} has no seeds");
    let corpus = folder("fuzz/corpus").join(target);
    let gathered = if std::env::var_os("POSTERN_CORPUS").is_some() && corpus.exists() {
        read_all(&corpus)
    } else {
        BTreeMap::new()
    };
    for (name, data) in seeds.into_iter().chain(gathered) {
        assert!(
            std::panic::catch_unwind(|| run(&data)).is_ok(),
            "{target}/{name}"
        );
    }
}

#[test]
fn every_seed_of_body_passes() {
    replay("body", body::run);
}

#[test]
fn every_seed_of_config_passes() {
    replay("config", config::run);
}

#[test]
fn every_seed_of_control_passes() {
    replay("control", control::run);
}

#[test]
fn every_seed_of_enrol_passes() {
    replay("enrol", enrol::run);
}

#[test]
fn every_seed_of_frame_passes() {
    replay("frame", frame::run);
}

#[test]
fn every_seed_of_gate_passes() {
    replay("gate", gate::run);
}

#[test]
fn every_seed_of_daemon_passes() {
    replay("daemon", daemon::run);
}

#[test]
fn every_seed_of_knock_passes() {
    replay("knock", knock::run);
}

#[test]
fn every_seed_of_hostile_engine_passes() {
    replay("hostile_engine", hostile_engine::run);
}

#[test]
fn every_seed_of_order_passes() {
    replay("order", order::run);
}

#[test]
fn every_seed_of_packet_passes() {
    replay("packet", packet::run);
}

#[test]
fn every_seed_of_recording_passes() {
    replay("recording", recording::run);
}

#[test]
fn every_seed_of_stun_passes() {
    replay("stun", stun::run);
}

#[test]
fn every_target_has_an_entry_and_seeds_and_is_replayed_here() {
    let names: BTreeSet<_> = NAMES.iter().map(|name| format!("{name}.rs")).collect();
    let file_names =
        |under: &str| -> BTreeSet<_> { read_all(&folder(under)).into_keys().collect() };
    assert_eq!(file_names("fuzz/fuzz_targets"), names);
    assert_eq!(file_names("fuzz/entries"), names);
}

#[test]
fn the_seeds_stay_small() {
    let all: Vec<_> = NAMES
        .iter()
        .flat_map(|name| read_all(&folder("fuzz/seeds").join(name)).into_values())
        .collect();
    let bytes: usize = all.iter().map(Vec::len).sum();
    assert!(
        all.len() < 400 && bytes < 300_000,
        "{} files, {bytes} bytes",
        all.len()
    );
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
    assert!(accepted > 5, "{accepted}");
    assert_eq!(rules, postern_proto::Malformed::ALL.into());
    let frames = read_all(&folder("fuzz/seeds/frame"));
    let caught = frames
        .values()
        .filter(|packet| postern::adapters::capture::frame::parse(packet, &frame::PORTS).is_some())
        .count();
    assert!(caught > 3 && caught < frames.len(), "{caught}");
    let recordings = read_all(&folder("fuzz/seeds/recording"));
    let is_datagram = |packet: &Recorded| matches!(packet.found, Found::Datagram(_));
    let packets: Vec<_> = recordings
        .into_values()
        .flat_map(|file| recording::read(Cursor::new(file)))
        .collect();
    let datagrams = packets.iter().filter(|packet| is_datagram(packet)).count();
    assert!(
        datagrams > 6 && packets.len() > datagrams + 4,
        "{datagrams} of {}",
        packets.len()
    );
    let configs = read_all(&folder("fuzz/seeds/config"));
    let loads = |text: &Vec<u8>| {
        postern::adapters::config::load(&config::bundle(str::from_utf8(text).unwrap())).is_ok()
    };
    let loaded = configs.values().filter(|text| loads(text)).count();
    assert!(loaded > 4 && loaded < configs.len() / 2, "{loaded}");
}

#[test]
fn the_seeds_reach_admissions_and_every_kind_of_message() {
    let moves = |data: &[u8]| {
        data.as_chunks::<4>()
            .0
            .iter()
            .map(|bytes| gate::read(*bytes))
            .collect::<Vec<_>>()
    };
    let admitted: usize = read_all(&folder("fuzz/seeds/gate"))
        .values()
        .map(|data| gate::play(moves(data)))
        .sum();
    assert!(admitted > 10, "{admitted}");
    let messages = read_all(&folder("fuzz/seeds/order"));
    let count = |read: fn(&[u8]) -> bool| messages.values().filter(|data| read(data)).count();
    let kinds = [
        count(order::read::<Order>),
        count(order::read::<Report>),
        count(order::read::<Start>),
    ];
    assert!(
        kinds
            .iter()
            .zip([5, 4, 1])
            .all(|(have, want)| *have >= want)
            && kinds.iter().sum::<usize>() < messages.len(),
        "{kinds:?}"
    );
    let answers = read_all(&folder("fuzz/seeds/stun"));
    let read = |data: &&Vec<u8>| {
        postern::client::stun::seen_address(&data[12..], data.first_chunk().unwrap()).is_ok()
    };
    let addresses = answers.values().filter(read).count();
    assert!(addresses > 2 && addresses < answers.len(), "{addresses}");
    let lines = read_all(&folder("fuzz/seeds/control"));
    let count = |read: fn(&[u8]) -> bool| lines.values().filter(|data| read(data)).count();
    let kinds = [
        count(control::read::<Question>),
        count(control::read::<Answer>),
    ];
    assert!(
        kinds[0] >= 4 && kinds[1] >= 4 && kinds[0] + kinds[1] < lines.len(),
        "{kinds:?}"
    );
}

#[test]
fn the_seeds_reach_every_kind_of_verdict_and_open_doors() {
    let mut kinds = BTreeSet::new();
    let mut names = BTreeSet::new();
    for data in read_all(&folder("fuzz/seeds/knock")).into_values() {
        kinds.extend(knock::read(&data).map(|verdict| match verdict {
            knock::Verdict::Drop(name) => {
                names.insert(name);
                "drop"
            }
            knock::Verdict::Refuse(rules) => {
                names.extend(rules);
                "refuse"
            }
            knock::Verdict::Open { .. } => "open",
            knock::Verdict::Close { .. } => "close",
        }));
    }
    assert!(kinds.len() == 4 && names.len() > 8, "{kinds:?} {names:?}");
    let hostile_engines = read_all(&folder("fuzz/seeds/hostile_engine"));
    let opened: usize = hostile_engines
        .values()
        .map(|data| hostile_engine::read(data))
        .sum();
    assert!(opened > 3, "{opened}");
    let daemons = read_all(&folder("fuzz/seeds/daemon"));
    let (ordered, open) = daemons
        .values()
        .map(|data| daemon::read(data))
        .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    assert!(ordered > 3 && open > 1, "{ordered}, {open}");
}

#[test]
fn the_seeds_reach_requests_tokens_and_lines_that_are_neither() {
    let (mut requests, mut tokens, mut neither) = (0, 0, 0);
    for data in read_all(&folder("fuzz/seeds/enrol")).into_values() {
        let line = match data[0] {
            0 => String::from_utf8_lossy(&data[1..]).into_owned(),
            kind => enrol::line(
                [
                    "postern-request-1.",
                    "postern-token-1.",
                    "postern-secret-1.",
                ][usize::from(kind) - 1],
                &data[1..],
            ),
        };
        match enrol::read(&line) {
            (true, _) => requests += 1,
            (_, true) => tokens += 1,
            _ => neither += 1,
        }
    }
    assert!(
        requests >= 2 && tokens >= 5 && neither >= 5,
        "{requests} {tokens} {neither}"
    );
}

#[test]
fn the_seeds_that_are_made_are_there_as_made() {
    let write = std::env::var_os("POSTERN_WRITE_SEEDS").is_some();
    let made = made::vector_seeds()
        .into_iter()
        .chain(made::frame_seeds())
        .chain(made::enrol_seeds())
        .chain(made::recording_seeds());
    for ((target, name), data) in made {
        let path = folder("fuzz/seeds").join(target).join(name);
        if write {
            put(&path, &data);
        }
        assert_eq!(
            get(&path).as_ref(),
            Some(&data),
            "{}: write it with POSTERN_WRITE_SEEDS=1",
            path.display()
        );
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
