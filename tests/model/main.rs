//! Invariants 3 and 4 for every way that things can go, not for the ways that somebody thought of.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

mod every;
mod explore;
mod paper;
mod proof;
