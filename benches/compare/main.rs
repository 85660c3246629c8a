//! Measures Postern, the limit program and fwknopd beside each other. `benches/README.md` says how.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a bench"
)]

use std::path::PathBuf;

mod client;
mod figures;
mod floods;
mod idle;
mod knocks;
mod start;
mod subject;
mod time_to_open;

/// What a run measures.
struct Plan {
    /// Repetitions of what is measured often.
    rounds: usize,
    /// Folder of the raw data.
    out: PathBuf,
    /// Numbers of users.
    users: Vec<usize>,
}

type Measure = (&'static str, fn(&Plan));

const MEASURES: [Measure; 5] = [
    ("knocks", knocks::measure),
    ("client", client::measure),
    ("floods", floods::measure),
    ("users", start::measure),
    ("idle", idle::measure),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` runs it without this word.
    if words.iter().all(|word| word != "--bench") {
        return;
    }
    let value = |name: &str| {
        let mut after = words.iter().skip_while(|word| *word != name);
        after.nth(1).cloned()
    };
    let plan = Plan {
        rounds: value("--rounds").map_or(1_000, |text| text.parse().unwrap()),
        out: value("--out").map_or("target/measured".into(), PathBuf::from),
        users: value("--users").map_or(vec![10_000, 100_000, 1_000_000], |text| {
            text.split(',').map(|one| one.parse().unwrap()).collect()
        }),
    };
    std::fs::create_dir_all(&plan.out).unwrap();
    println!("{}\n", figures::machine());
    let chosen = |name| words.iter().any(|word| word == name);
    let is_all = !MEASURES.iter().any(|(name, _)| chosen(*name));
    for (name, measure) in MEASURES {
        if is_all || chosen(name) {
            println!("## {name}, {}\n", figures::load());
            measure(&plan);
            println!();
        }
    }
    println!("raw data: {}; {}", plan.out.display(), figures::load());
}
