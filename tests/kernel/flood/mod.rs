//! Floods of junk at full speed against a whole posternd: every knock that comes meanwhile opens.
//!
//! ```text
//!   second client: sends junk ══ cable ══ gate: posternd ══ cable ══ first client: knocks
//! ```
//!
//! In a debug build the floods are slower, so that what is asked is what such a build can do. The figures are the release build's:
//! `cargo test --release --test kernel flood:: -- --nocapture`. `POSTERN_FLOODS` says how often each flood runs, and `POSTERN_SOAK` how many
//! seconds the soak lasts (`tests/soak`).

use libtest_mimic::Trial;

mod junk;
mod knocks;
mod soak;

use junk::Kind;
use knocks::Prefilter;
use postern_harness::{Machine, Requirement};

pub(crate) fn tests(machine: &Machine) -> Vec<Trial> {
    let nft = [Requirement::Program("ip"), Requirement::Program("nft")];
    let mut trials = Vec::new();
    for kind in Kind::ALL {
        let name = format!("knocks_open_under_{}", kind.name());
        let test = move || knocks::open("nftables", kind, Prefilter::Hints);
        trials.push(machine.trial(name, &nft, test));
    }
    // Without the kernel's hint filter this junk reaches the engine.
    for kind in Kind::ALL
        .into_iter()
        .filter(|kind| kind.dies_in_the_kernel())
    {
        let name = format!("knocks_open_without_hint_filter_under_{}", kind.name());
        let test = move || knocks::open("nftables", kind, Prefilter::Classic);
        trials.push(machine.trial(name, &nft, test));
    }
    for (driver, program) in [("iptables", "iptables-restore"), ("nftables", "nft")] {
        let needs = [Requirement::Program("ip"), Requirement::Program(program)];
        let test = move || soak::nothing_grows(driver);
        trials.push(machine.trial(format!("nothing_grows::{driver}"), &needs, test));
    }
    trials
}
