//! Marks, clock floor and horizon in a redb file, `marks.redb` in the gate's state folder.
//!
//! See `proto/README.md`, section 6, steps 7, 8 and 11.

mod create;
mod faults;
mod format;
mod open;
mod runs;
mod store;
#[cfg(test)]
mod tests;

pub use store::{DiskStore, FILE, read_times};

/// All files that a store makes in the state folder.
pub const FILES: [&str; 4] = [FILE, create::DRAFT, runs::FILE, runs::DRAFT];
