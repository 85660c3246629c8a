//! Floods of junk, as fast as this machine makes them, through a whole posternd: every knock that comes meanwhile opens its door.
//!
//! ```text
//!   second client: sends junk ══ cable ══ gate: posternd ══ cable ══ first client: knocks
//! ```
//!
//! In a debug build the floods are slower, so that what is asked is what such a build can do. The figures are the release build's:
//! `cargo test --release --test flood -- --nocapture`. `POSTERN_FLOODS` says how often each flood runs, and `POSTERN_SOAK` how many
//! seconds the soak lasts (`tests/soak`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

mod junk;
mod knocks;
mod process;
mod soak;

use junk::Kind;
use knocks::Prefilter;
use postern_harness::{Machine, Requirement};

fn main() -> ExitCode {
    let machine = Machine::inspect();
    let needs = [
        (
            "iptables",
            [
                Requirement::Program("ip"),
                Requirement::Program("iptables-restore"),
            ],
        ),
        (
            "nftables",
            [Requirement::Program("ip"), Requirement::Program("nft")],
        ),
    ];
    let mut trials: Vec<Trial> = Vec::new();
    for (backend, needs) in needs {
        for kind in Kind::ALL {
            let trial = |name: &str, prefilter| {
                machine.trial(
                    format!(
                        "{backend}::every_knock_opens_{name}under_a_flood_of_{}",
                        kind.name()
                    ),
                    &needs,
                    move || knocks::open(backend, kind, prefilter),
                )
            };
            trials.push(trial("", Prefilter::Hints));
            // The same without the kernel's hint filter, where that makes a difference.
            if kind.dies_in_the_kernel() && backend == "nftables" {
                trials.push(trial("without_the_hint_filter_", Prefilter::Classic));
            }
        }
        trials.push(machine.trial(
            format!("{backend}::nothing_grows_while_it_is_flooded_and_asked"),
            &needs,
            move || soak::nothing_grows(backend),
        ));
    }
    let mut arguments = Arguments::from_args();
    // Each wants the machine for itself.
    arguments.test_threads.get_or_insert(1);
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A number that whoever runs the tests may set.
fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is no number"))
    })
}

#[expect(clippy::print_stderr, reason = "the figures are what this is for")]
fn say(line: &str) {
    eprintln!("{line}");
}
