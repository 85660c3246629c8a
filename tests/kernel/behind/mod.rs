//! What users and strangers reach of hosts behind the gate: every driver, both families. Needs root.
//!
//! ```text
//!   client   192.0.2.7,    2001:db8:1::7 ── .1, ::1 ┐                       ┌ 10.0.0.5, fd00::5
//!                                                    gate ── .1, ::1 ── inner
//!   stranger 198.51.100.8, 2001:db8:2::8 ── .1, ::1 ┘                       └ 10.0.0.6, fd00::6
//! ```

use libtest_mimic::Trial;

mod forwards;
mod redirects;
mod targets;
mod world;

use postern_harness::firewall::has_legacy_tables;
use postern_harness::{Machine, Requirement, trials_by};

pub(crate) fn tests(machine: &Machine) -> Vec<Trial> {
    let programs = ["ip", "nft", "iptables", "sysctl"];
    let mut needs = programs.map(Requirement::Program).to_vec();
    needs.push(Requirement::Root);
    let mut iptables = vec!["iptables-nft"];
    iptables.extend(has_legacy_tables(machine).then_some("iptables-legacy"));
    let kinds = [&["nftables"][..], &iptables].concat();
    let mut trials = trials_by![
        machine, &needs, kinds;
        targets::target_opens_one_host_and_port,
        targets::target_opens_without_protection,
        forwards::forward_serves_its_client_only,
        forwards::kernel_alone_ends_a_forward,
        forwards::overlapping_forwards_reach_their_hosts,
        forwards::passing_connections_are_not_forwarded,
        forwards::removal_restores_every_table,
        forwards::impossible_forward_leaves_nothing_half_open,
        forwards::removed_rules_are_detected_and_restored,
        redirects::kernel_alone_ends_a_redirect,
        redirects::removed_redirect_is_detected_and_restored,
    ];
    trials
        .extend(trials_by![machine, &needs, iptables; targets::marked_packets_pass_a_drop_policy]);
    trials
}
