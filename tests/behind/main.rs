//! Hosts behind the gate against the real kernel: both drivers, both families, each test in network namespaces of its own.
//!
//! Owns what users and strangers get of such hosts. Needs root; changes nothing of the host's.
//!
//! ```text
//!   client   192.0.2.7,    2001:db8:1::7 ── .1, ::1 ┐                       ┌ 10.0.0.5, fd00::5
//!                                                    gate ── .1, ::1 ── inner
//!   stranger 198.51.100.8, 2001:db8:2::8 ── .1, ::1 ┘                       └ 10.0.0.6, fd00::6
//! ```
#![cfg(feature = "daemon")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stderr,
    dead_code
)]

mod forwards;
#[path = "../netns/mod.rs"]
mod netns;
mod targets;
mod world;
