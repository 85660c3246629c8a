//! Marks, clock floor and horizon in a log, `marks.log` in the gate's state folder, and used sequences in `sequences.log`.
//! `closed.log` has closed grants of gates of one name.
//!
//! See `proto/README.md`, section 6, steps 7, 8 and 11.

mod content;
mod file;
mod log;
mod old;
mod record;
mod store;
#[cfg(test)]
mod tests;

pub use store::{DiskStore, FILE, read_times};

/// All files that a store makes in the state folder, and those of earlier releases.
pub const FILES: [&str; 10] = [
    FILE,
    "marks.log.new",
    store::RUNS,
    "sequences.log.new",
    store::CLOSED,
    "closed.log.new",
    old::MARKS_FILE,
    "marks.redb.new",
    old::RUNS_FILE,
    "runs.redb.new",
];
