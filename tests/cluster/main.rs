//! Gates of one name with a real etcd or a real Redis, and with a server that lies.
//!
//! `cargo test --features etcd,redis --test cluster` runs them. POSTERN_GATES and POSTERN_KNOCKS make the suite of faults larger, and
//! POSTERN_SEED repeats its faults.
//! With `--release`, POSTERN_CLAIMS=1000 and the filter `claim_latency` it measures how long a claim takes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::process::ExitCode;

use postern_harness::{Machine, run_tests};

mod access;
mod bad_input;
mod claims;
mod faults;
mod fleet;
mod liars;
mod lying;
mod outages;
mod process;
mod publish;
mod roster;
mod servers;
mod sharing;
mod timeline;

use postern_harness::Requirement::{self, Program};

const ETCD: &[Requirement] = &[
    Program("etcd"),
    Program("nft"),
    Program("openssl"),
    Program("curl"),
];
const REDIS: &[Requirement] = &[Program("redis-server"), Program("nft"), Program("openssl")];

fn main() -> ExitCode {
    let machine = Machine::inspect();
    let (mut trials, mut alone) = (Vec::new(), Vec::new());
    for (needs, kind) in [(ETCD, "etcd"), (REDIS, "redis")] {
        let machine = machine.module(kind);
        let tests = claims::TESTS.iter().chain(access::TESTS);
        let tests = tests.chain(publish::TESTS).chain(sharing::TESTS);
        for (name, test) in tests.chain(roster::TESTS) {
            trials.push(machine.trial(*name, needs, move || test(kind)));
        }
        let needs_clock = [needs, &[Requirement::Root, Program("cc"), Program("mount")]].concat();
        for (name, test) in bad_input::TESTS {
            trials.push(machine.trial(*name, &needs_clock, move || test(kind)));
        }
        for (name, test) in faults::TESTS {
            alone.push(machine.trial(*name, needs, move || test(kind)));
        }
        let name = "claim_latency";
        alone.push(machine.trial(name, needs, move || publish::claim_latency(kind)));
    }
    let name = "gate_starts_without_a_cluster_process";
    trials.push(machine.trial(name, REDIS, access::gate_starts_without_a_cluster_process));
    let name = "redis_that_refuses_writes_is_named";
    trials.push(machine.trial(name, REDIS, access::redis_that_refuses_writes_is_named));
    let name = "owner_of_the_coordinator_opens_nothing";
    trials.push(machine.trial(name, ETCD, sharing::owner_of_the_coordinator_opens_nothing));
    let name = "knock_dated_ahead_stays_burnt";
    let both = [ETCD, REDIS].concat();
    trials.insert(
        0,
        machine.trial(name, &both, claims::knock_dated_ahead_stays_burnt),
    );
    let of_three = machine.module(servers::THREE);
    for (name, test) in faults::TESTS {
        alone.push(of_three.trial(*name, ETCD, move || test(servers::THREE)));
    }
    let name = "forgetful_redis_is_refused";
    trials.push(machine.trial(name, REDIS, access::forgetful_redis_is_refused));
    let name = "two_clusters_of_etcd_are_refused";
    trials.push(machine.trial(name, ETCD, publish::two_clusters_of_etcd_are_refused));
    let name = "close_outlives_the_grants_of_its_gate";
    trials.push(machine.trial(name, ETCD, publish::close_outlives_the_grants_of_its_gate));
    let name = "three_nodes_survive_the_loss_of_one";
    alone.push(machine.trial(name, ETCD, publish::three_nodes_survive_the_loss_of_one));
    for kind in ["etcd", "redis"] {
        let machine = machine.module(kind);
        let name = "lies_are_bounded";
        alone.push(machine.trial(name, &[], move || liars::lies_are_bounded(kind)));
    }
    let name = "lying_server_leaves_open_what_is_open";
    trials.push(machine.trial(name, &[], lying::lying_server_leaves_open_what_is_open));
    let name = "lying_server_opens_nothing";
    alone.push(machine.trial(name, &[], lying::lying_server_opens_nothing));
    run_tests(trials, alone)
}
