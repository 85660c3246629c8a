//! Hosts behind the gate against the real kernel: both drivers, both families, each test in network namespaces of its own.
//!
//! Owns what users and strangers get of such hosts. Needs root, and changes nothing of the host's; without root the tests are
//! ignored.
//!
//! ```text
//!   client   192.0.2.7,    2001:db8:1::7 ── .1, ::1 ┐                       ┌ 10.0.0.5, fd00::5
//!                                                    gate ── .1, ::1 ── inner
//!   stranger 198.51.100.8, 2001:db8:2::8 ── .1, ::1 ┘                       └ 10.0.0.6, fd00::6
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stderr,
    dead_code
)]

use std::process::ExitCode;

mod forwards;
mod targets;
mod world;

use postern_harness::{Machine, Requirement, run_tests, trials};

fn main() -> ExitCode {
    let machine = Machine::inspect();
    let trials = trials![
        machine, &[Requirement::Root, Requirement::Program("ip"), Requirement::Program("nft"), Requirement::Program("iptables"), Requirement::Program("sysctl")];
        targets::a_target_opens_that_host_and_port_for_that_client_and_in_one_direction,
        targets::a_grant_opens_through_a_host_that_forwards_nothing_and_no_other_connection_is_let_through_with_it,
        targets::without_protection_a_target_is_opened_and_nothing_is_closed,
        forwards::a_forward_leads_its_client_alone_to_the_host_which_sees_the_client_or_with_masquerade_the_gate,
        forwards::the_kernel_alone_ends_a_forward_for_new_connections,
        forwards::networks_and_ranges_of_ports_are_led_where_they_should_be_also_where_grants_overlap,
        forwards::what_passes_through_the_gate_to_the_same_port_of_another_host_is_not_led_away,
        forwards::removing_leaves_every_table_of_the_host_as_it_was,
        forwards::a_forward_that_cannot_be_is_an_error_and_leaves_nothing_half_open,
        forwards::what_others_take_out_is_seen_and_an_installation_puts_it_back,
    ];
    run_tests(trials, Vec::new())
}
