//! Faults at named points: what breaks under the gate, beside it and in it, and that no door opens whose mark is not durable, no
//! replay is admitted, no grant outlives its end, and the daemon recovers or stops with a reason.
//!
//! `points` is the table: every point, and the tests that inject there, wherever they stand. Here stand those that need a whole gate
//! on the real kernel and had no other place; the world is `tests/gate`'s.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

mod askers;
mod asleep;
mod capture;
mod disk;
mod firewall;
mod hostile_engine;
mod inject;
mod kills;
mod memory;

use postern_harness::{Machine, Requirement};

/// Every firewall driver, as in `tests/gate`.
const BACKENDS: [(&str, &[Requirement]); 2] = [
    (
        "iptables",
        &[
            Requirement::Program("ip"),
            Requirement::Program("iptables-restore"),
            Requirement::Program("ip6tables-restore"),
        ],
    ),
    (
        "nftables",
        &[Requirement::Program("ip"), Requirement::Program("nft")],
    ),
];

/// Tests that wait more than they work run side by side.
const AT_ONCE: usize = 6;

const STRACE: &[Requirement] = &[Requirement::Root, Requirement::Program("strace")];
const MOUNT: &[Requirement] = &[
    Requirement::Root,
    Requirement::Program("unshare"),
    Requirement::Program("mount"),
    Requirement::Program("nsenter"),
];
const ROOT: &[Requirement] = &[Requirement::Root];

type Test = (&'static str, &'static [Requirement], fn(&'static str));

/// The name of a function as the name of a test.
macro_rules! tests {
    ($($needs:ident: $module:ident::$name:ident),* $(,)?) => { &[$((stringify!($name), $needs, $module::$name)),*] };
}

/// Tests in which the firewall has a part.
const EVERY: &[Test] = tests![
    STRACE: kills::engine_killed_after_its_commit_and_before_its_order_opens_nothing_and_no_replay,
    STRACE: kills::monitor_killed_with_an_order_in_hand_opens_nothing_and_no_replay,
    STRACE: kills::monitor_killed_after_opening_and_before_its_report_leaves_the_end_to_the_kernel,
    ROOT: kills::engine_killed_after_its_order_leaves_one_door_with_an_end,
    ROOT: kills::both_killed_after_the_report_leave_the_end_to_the_kernel_and_no_replay,
    ROOT: asleep::gate_that_wakes_after_the_end_of_a_grant_has_closed_it_and_admits_no_replay,
    ROOT: memory::start_with_little_memory_serves_or_ends_with_a_reason,
    STRACE: memory::monitor_that_gets_no_more_memory_leaves_protection_and_ends_to_the_kernel,
    ROOT: hostile_engine::orders_that_no_policy_allows_are_refused_each_by_its_rule,
    ROOT: hostile_engine::flood_of_orders_delays_no_end_and_no_stop,
];

/// Tests of what is the same with any firewall.
const ONCE: &[Test] = tests![
    STRACE: kills::engine_killed_as_it_begins_to_write_a_mark_opens_nothing_and_the_knock_may_come_again,
    STRACE: kills::engine_killed_before_its_commit_is_synced_opens_nothing,
    MOUNT: disk::full_disk_opens_nothing_and_is_told_and_knocks_work_again_once_there_is_room,
    MOUNT: disk::disk_that_turns_read_only_is_told_and_knocks_work_again_once_it_is_writable,
    STRACE: disk::sync_that_fails_opens_nothing_and_a_fresh_engine_serves,
    STRACE: disk::slow_sync_holds_the_door_until_the_mark_is_durable,
    ROOT: disk::damaged_store_keeps_an_engine_from_serving_and_says_so_in_one_line,
    STRACE: capture::reads_that_fail_a_few_times_lose_no_knock,
    STRACE: capture::reads_that_only_fail_end_the_engine_with_a_reason_and_the_next_one_hears,
    ROOT: capture::interface_that_takes_another_name_is_let_go_and_heard_again_under_its_own,
    ROOT: askers::hostile_clients_hold_up_no_knock_and_no_question,
    STRACE: memory::engine_that_gets_no_more_memory_opens_only_what_is_durable_and_another_one_follows,
    ROOT: hostile_engine::malformed_and_oversized_messages_end_that_engine_alone,
    ROOT: hostile_engine::descriptors_that_come_with_orders_are_let_go,
    ROOT: hostile_engine::silence_ends_the_engine_and_another_one_serves,
    ROOT: hostile_engine::link_that_is_closed_ends_the_engine_and_another_one_serves,
];

/// Tests of native nftables alone.
const NFTABLES: &[Test] = tests![
    STRACE: firewall::kernel_that_takes_no_batch_is_told_as_failed_and_opens_nothing,
    STRACE: firewall::answers_of_the_kernel_that_are_lost_leave_one_truth,
    STRACE: firewall::kernel_that_is_slow_delays_a_knock_and_no_end,
];

fn main() -> ExitCode {
    let machine = Machine::inspect();
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let trial = |(backend, by_backend): &(&'static str, &[Requirement]),
                 (name, needs, test): &Test| {
        let (backend, test) = (*backend, *test);
        machine.trial(
            format!("{backend}::{name}"),
            &[by_backend, *needs].concat(),
            move || test(backend),
        )
    };
    let once = BACKENDS
        .iter()
        .find(|(_, needs)| machine.meets(needs))
        .unwrap_or(&BACKENDS[0]);
    let mut trials: Vec<Trial> = BACKENDS
        .iter()
        .flat_map(|backend| EVERY.iter().map(|test| trial(backend, test)))
        .collect();
    trials.extend(ONCE.iter().map(|test| trial(once, test)));
    trials.extend(NFTABLES.iter().map(|test| trial(&BACKENDS[1], test)));
    libtest_mimic::run(&arguments, trials).exit_code()
}
