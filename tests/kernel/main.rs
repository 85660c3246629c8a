//! Tests that need the kernel: real gates, clients and firewalls in network namespaces.
//!
//! `cargo test --test kernel` runs all of them, `cargo test --test kernel gate::restart` those of a module, and
//! `cargo test --test kernel nftables` those of a driver. A test whose requirements are not met is ignored and says why.
//!
//! A module has a function `tests(&Machine) -> Vec<Trial>`. Tests that measure time have the machine for themselves, one by one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::process::ExitCode;

use postern_harness::{Machine, run_tests};

mod behind;
mod capture;
mod client_calls;
mod connections;
mod demo;
mod docs;
mod evaluator;
mod faults;
mod flood;
mod gate;
mod golden;
mod host;
mod inputs;
mod iptables;
mod many_grants;
mod nftables;
mod opening;
mod system;

fn main() -> ExitCode {
    let machine = Machine::inspect();
    let parallel = [
        docs::tests(&machine.module("docs")),
        demo::tests(&machine.module("demo")),
        golden::tests(&machine.module("golden")),
        gate::tests(&machine.module("gate")),
        faults::tests(&machine.module("faults")),
        host::tests(&machine.module("host")),
        evaluator::tests(&machine.module("evaluator")),
        behind::tests(&machine.module("behind")),
        connections::tests(&machine.module("connections")),
        iptables::tests(&machine.module("iptables")),
        nftables::tests(&machine.module("nftables")),
        opening::tests(&machine.module("opening")),
        capture::tests(&machine.module("capture")),
        client_calls::tests(&machine.module("client_calls")),
        system::tests(&machine.module("system")),
    ];
    let alone = [
        gate::tests_alone(&machine.module("gate")),
        faults::tests_alone(&machine.module("faults")),
        many_grants::tests(&machine.module("many_grants")),
        flood::tests(&machine.module("flood")),
    ];
    run_tests(
        parallel.into_iter().flatten().collect(),
        alone.into_iter().flatten().collect(),
    )
}
