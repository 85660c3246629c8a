//! The exhaustive model: every list of events up to a length, run in the real daemon code (gate, engine core,
//! messages, executor and ledger).
//!
//! The simulation checks invariants 3, 4 and 10 after each event (`fuzz/entries/src/daemon/simulation.rs`). With
//! `POSTERN_MODEL_DEEPER=1` the lists are longer by one.
//!
//! `cluster` is the model of several gates of one name.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

mod cluster;
mod events;
mod gate_host;
mod inputs;
mod remembered;

use std::panic::{AssertUnwindSafe, catch_unwind};

use postern_fuzz_entries::daemon::Daemon;
use postern_fuzz_entries::daemon::event::Event::{self, *};
use postern_fuzz_entries::daemon::event::{EVENTS, Fault};

/// Totals over all lists, to notice a daemon in which nothing happens.
#[derive(Debug, Default)]
struct Played {
    fault: Option<Fault>,
    lists: u64,
    events: u64,
    most_ordered: usize,
    most_open: usize,
}

impl Played {
    /// Runs the list, then each list that is one possible event longer.
    fn all(&mut self, kernel_ends: bool, events: &[Event], so_far: &mut Vec<Event>, longer: usize) {
        let mut daemon = Daemon::new(kernel_ends).with(self.fault);
        so_far.iter().for_each(|event| daemon.play(*event));
        self.count(so_far, &daemon);
        let next: Vec<Event> = events
            .iter()
            .copied()
            .filter(|event| longer > 0 && daemon.may(*event))
            .collect();
        drop(daemon);
        for event in next {
            so_far.push(event);
            self.all(kernel_ends, events, so_far, longer - 1);
            so_far.pop();
        }
    }

    fn count(&mut self, events: &[Event], daemon: &Daemon) {
        let (ordered, open) = daemon.came_to();
        self.lists += 1;
        self.events += events.len() as u64;
        self.most_ordered = self.most_ordered.max(ordered);
        self.most_open = self.most_open.max(open);
    }
}

fn play(events: &[Event], length: usize, kernels: &[bool]) -> Played {
    let deeper = usize::from(std::env::var_os("POSTERN_MODEL_DEEPER").is_some());
    let mut played = Played::default();
    for kernel_ends in kernels {
        played.all(*kernel_ends, events, &mut Vec::new(), length + deeper);
    }
    println!("{events:?}, up to {} of them: {played:?}", length + deeper);
    played
}

#[test]
fn all_events_keep_the_invariants() {
    let played = play(&EVENTS, 5, &[true, false]);
    assert!(
        played.lists > 50_000 && (played.most_ordered, played.most_open) == (2, 1),
        "{played:?}"
    );
}

#[test]
fn invariant_3_each_mark_is_durable_before_its_one_order() {
    let played = play(
        &[
            Knock,
            First,
            Stored,
            EngineDies,
            EngineDiesLate,
            HandOver,
            Pass,
            Back,
        ],
        7,
        &[true],
    );
    assert!(played.lists > 50_000, "{played:?}");
    assert!(played.most_ordered > 1, "{played:?}");
}

#[test]
fn invariant_4_each_grant_ends_on_time() {
    let played = play(
        &[
            Knock,
            Close,
            Stored,
            Served,
            Pass,
            MonitorDies,
            MonitorBegins,
            Fail,
            Flush,
        ],
        6,
        &[true, false],
    );
    assert!(played.lists > 50_000 && played.most_open > 0, "{played:?}");
}

/// Each property is violated soon if one part of the daemon is faulty: so the properties can fail.
#[test]
fn each_property_catches_its_fault() {
    for (fault, said) in [
        (Fault::LyingDisk, "an order before its mark is durable"),
        (Fault::EmptyDisk, "one mark, two orders"),
        (Fault::SleepingMonitor, "past its end"),
        (Fault::CleaningMonitor, "told to be open until"),
        (Fault::GenerousFirewall, "nobody may have"),
        (Fault::OpenFirewall, "nobody may have"),
    ] {
        let mut played = Played {
            fault: Some(fault),
            ..Played::default()
        };
        let found = catch_unwind(AssertUnwindSafe(|| {
            played.all(false, &EVENTS, &mut Vec::new(), 6)
        }));
        let why = found
            .expect_err("no property failed")
            .downcast::<String>()
            .map(|text| *text)
            .unwrap_or_default();
        assert!(why.contains(said), "{fault:?}: {why}");
        println!("{fault:?}: after {} lists: {why}", played.lists);
    }
}
