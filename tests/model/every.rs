//! Every list of events up to a length, played in the real daemon: gate, engine's core, messages, executor and ledger.
//!
//! The daemon judges itself after each event (`fuzz/entries/daemon.rs`). `POSTERN_MODEL_DEEPER=1` makes the lists longer by one.

use std::panic::{AssertUnwindSafe, catch_unwind};

use postern_fuzz_entries::daemon::Daemon;
use postern_fuzz_entries::daemon::event::Event::{self, *};
use postern_fuzz_entries::daemon::event::{EVENTS, Fault};

/// What all lists came to, so that daemons in which nothing happens are noticed.
#[derive(Debug, Default)]
struct Played {
    fault: Option<Fault>,
    lists: u64,
    events: u64,
    most_ordered: usize,
    most_open: usize,
}

impl Played {
    /// Plays the list once more, and then goes on with each event that can follow.
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
fn all_events_together() {
    let played = play(&EVENTS, 5, &[true, false]);
    assert!(
        played.lists > 50_000 && (played.most_ordered, played.most_open) == (2, 1),
        "{played:?}"
    );
}

#[test]
fn invariant_3_no_order_before_its_mark_is_durable_and_none_twice_whatever_crashes_and_whatever_the_clock_does()
 {
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
    assert!(
        played.lists > 50_000 && played.most_ordered > 1,
        "{played:?}"
    );
}

#[test]
fn invariant_4_no_door_is_open_past_its_end_and_none_that_was_told_is_shut_before_it() {
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

/// What no list of events comes to in a daemon that works is come to at once where one part of it does its work wrong.
#[test]
fn every_property_fails_in_a_daemon_where_something_is_broken() {
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
            .expect_err("nothing was noticed")
            .downcast::<String>()
            .map(|text| *text)
            .unwrap_or_default();
        assert!(why.contains(said), "{fault:?}: {why}");
        println!("{fault:?}: after {} lists: {why}", played.lists);
    }
}
