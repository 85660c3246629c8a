//! What the tests of Postern share: network namespaces, the real programs, a running gate with two clients, and waits.
//!
//! Every wait is on a condition and has a deadline. A test whose requirements the machine does not meet is ignored, never passed.
#![allow(
    missing_docs,
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "test code"
)]

pub mod clock;
pub mod cluster;
pub mod firewall;
pub mod hosts;
pub mod machine;
pub mod namespace;
pub mod packets;
mod pattern;
pub mod peer;
pub mod process;
pub mod programs;
pub mod random;
pub mod recordings;
pub mod run;
pub mod traffic;
pub mod wait;
pub mod world;

pub use machine::{Machine, Requirement};
pub use namespace::{Namespace, join, run};
pub use pattern::says;
pub use programs::{find, postern, posternd, repository, text};
pub use random::Random;
pub use run::{number, run_tests, say};
pub use traffic::{echoes, gate_and_client};
pub use wait::{LONGEST_WAIT, now, wait_at_most, wait_for, wait_until};
pub use world::{
    Client, Daemon, FAMILIES, Family, GATE_NAME, GateConfig, KNOCK, KnockMaker, KnockStream,
    LookAlikes, Ran, SERVICE, Sources, Status, World, key, seed, socket_for,
};
