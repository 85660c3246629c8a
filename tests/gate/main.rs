//! The whole gate against the real kernel: a real posternd, the real client, real scanners and sessions, both families.
//!
//! Every test has a world of its own, in namespaces without names that go with it; the host's network and firewall are
//! never touched. As root, or in a user namespace where the kernel allows one.
//!
//! ```text
//!   first client                     gate                                        second client
//!   10.77.0.2, fd77::2               10.77.0.1, fd77::1                          10.77.0.3, fd77::3
//!   wire0 ═══════ cable ═══════ gate2   posternd: UDP 62201   gate3 ═══════ cable ═══════ wire0
//!   02:00:00:00:02:02   02:00:00:00:02:01   hidden: TCP 2222   02:00:00:00:03:01   02:00:00:00:03:02
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::disallowed_methods)]

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

mod ground;
mod users;
mod world;

use ground::{Ground, Need};

/// Every firewall driver that the gate has. The tests of [`EVERY`] run with each, those of [`ONCE`] with the first.
const BACKENDS: [&str; 1] = ["iptables"];

/// Tests that wait more than they work run side by side.
const AT_ONCE: usize = 8;

type Test = (&'static str, &'static [Need], fn(&'static str));

/// Tests in which the firewall has a part.
const EVERY: &[Test] = &[("a_knock_opens_for_its_sender_alone_and_ends_by_itself", &[], users::knock_opens_and_ends)];

/// Tests of what is the same with any firewall.
const ONCE: &[Test] = &[];

fn main() -> ExitCode {
    let ground = Ground::find();
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let trial = |backend: &'static str, (name, needs, test): &Test| ground.trial(format!("{backend}::{name}"), needs, backend, *test);
    let every = BACKENDS.iter().flat_map(|backend| EVERY.iter().map(|test| trial(backend, test)));
    let trials: Vec<Trial> = every.chain(ONCE.iter().map(|test| trial(BACKENDS[0], test))).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
