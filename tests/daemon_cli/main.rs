//! What `posternd` says of bad input: one clear line, the right exit code, and never a part of a key.
//!
//! Every run has a network namespace of its own, so that a config which is accepted by mistake can't touch the host.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::disallowed_methods)]

mod asking;
mod changing;
mod configs;
mod explain;
mod gate;
mod host;
mod running;
mod setting_up;
mod users;
#[path = "../recording/written.rs"]
#[allow(dead_code, reason = "other tests write more kinds")]
mod written;
