//! Floods of junk at full speed against a whole posternd: every knock that comes meanwhile opens.
//!
//! ```text
//!   second client: sends junk ══ link ══ gate: posternd ══ link ══ first client: knocks
//! ```
//!
//! In a debug build the floods are slower, so that what is asked is what such a build can do. The figures are the release build's:
//! `cargo test --release --test kernel flood:: -- --nocapture`. `POSTERN_FLOODS` says how often each flood runs, `POSTERN_PACE` how many
//! packets a second (0: as many as can be sent), and `POSTERN_SOAK` how many seconds the soak lasts (`tests/soak`).

use libtest_mimic::Trial;

mod greedy;
mod junk;
mod knocks;
mod look_alikes;
mod soak;

use junk::Kind;
use knocks::Prefilter::{self, Classic, Hints, Nflog};
use postern_harness::Family::{self, V4, V6};
use postern_harness::{Machine, Requirement};

/// With each driver.
const FLOODS: [(&str, Family, Kind); 10] = [
    (
        "knocks_open_under_packets_to_another_port",
        V4,
        Kind::OtherPort,
    ),
    ("knocks_open_under_random_bytes", V4, Kind::Random),
    ("knocks_open_under_random_bytes_over_ipv6", V6, Kind::Random),
    (
        "knocks_open_under_right_hints_with_wrong_macs",
        V4,
        Kind::WrongMac,
    ),
    ("knocks_open_under_replays", V4, Kind::Replay),
    ("knocks_open_under_replays_over_ipv6", V6, Kind::Replay),
    ("knocks_open_under_an_unknown_key", V4, Kind::UnknownKey),
    ("knocks_open_under_wrong_lengths", V4, Kind::Length),
    ("knocks_open_under_fragments", V4, Kind::Giant),
    ("knocks_open_under_hits", V4, Kind::Hit),
];

/// Without the kernel's hint filter this junk reaches the engine.
const UNFILTERED: [(&str, Kind, Prefilter); 3] = [
    (
        "knocks_open_without_hint_filter_under_random_bytes",
        Kind::Random,
        Classic,
    ),
    (
        "knocks_open_without_hint_filter_under_an_unknown_key",
        Kind::UnknownKey,
        Classic,
    ),
    (
        "knocks_open_by_nflog_under_random_bytes",
        Kind::Random,
        Nflog,
    ),
];

/// Packets that look like fwknop's.
const LOOK_ALIKES: [(&str, look_alikes::Kind); 5] = [
    (
        "knocks_open_under_look_alikes_of_many_sources",
        look_alikes::Kind::Spoofed,
    ),
    (
        "knocks_open_under_long_look_alikes",
        look_alikes::Kind::Long,
    ),
    (
        "knocks_open_under_look_alikes_of_one_source",
        look_alikes::Kind::One,
    ),
    (
        "knocks_open_under_look_alikes_at_a_small_gate",
        look_alikes::Kind::Few,
    ),
    (
        "knocks_open_under_a_packet_replayed_from_their_source",
        look_alikes::Kind::Replay,
    ),
];

pub(crate) fn tests(machine: &Machine) -> Vec<Trial> {
    let nft = [Requirement::Program("ip"), Requirement::Program("nft")];
    let flood = |(name, kind, prefilter)| {
        machine.trial(name, &nft, move || {
            knocks::open("nftables", V4, kind, prefilter)
        })
    };
    let mut trials: Vec<Trial> = UNFILTERED.into_iter().map(flood).collect();
    for (driver, program) in [("iptables", "iptables-restore"), ("nftables", "nft")] {
        let needs = [Requirement::Program("ip"), Requirement::Program(program)];
        let test = move || soak::nothing_grows(driver);
        trials.push(machine.trial(format!("nothing_grows::{driver}"), &needs, test));
        let test = move || greedy::leaves_others_their_knocks(driver);
        let name = format!("one_user_leaves_others_their_knocks::{driver}");
        trials.push(machine.trial(name, &needs, test));
        for (name, family, kind) in FLOODS {
            let test = move || knocks::open(driver, family, kind, Hints);
            trials.push(machine.trial(format!("{name}::{driver}"), &needs, test));
        }
        for (name, kind) in LOOK_ALIKES {
            let test = move || look_alikes::knocks_open(driver, kind);
            trials.push(machine.trial(format!("{name}::{driver}"), &needs, test));
        }
    }
    trials
}
