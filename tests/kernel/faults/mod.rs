//! Faults of disk, kernel, memory, firewall and engine on a running gate. No grant opens before its mark is durable, no replay is
//! admitted, no grant outlives its end, and the daemon recovers or stops with a reason.

use libtest_mimic::Trial;

mod calls;
mod capture;
mod control_clients;
mod disk;
mod firewall;
mod hops;
#[cfg(target_arch = "x86_64")]
mod hostile_calls;
mod hostile_engine;
mod idle;
mod inject;
mod kills;
mod memory;
mod random_kills;
mod suspend;

use postern_harness::Requirement::{self, Program, Root};
use postern_harness::world::checks::USER;
use postern_harness::world::{Test, by_backend};
use postern_harness::{GateConfig, Machine, table};

const STRACE: &[Requirement] = &[Root, Program("strace")];
const MOUNT: &[Requirement] = &[
    Root,
    Program("unshare"),
    Program("mount"),
    Program("nsenter"),
];
const ROOT: &[Requirement] = &[Root];

pub(crate) fn tests(machine: &Machine) -> Vec<Trial> {
    let mut tests = by_backend(machine, EVERY, ONCE, NFTABLES);
    tests.extend(by_backend(machine, &[], TRACED, &[]));
    tests
}

/// Tests that others would disturb: they take the lock of legacy iptables, which wakes the monitor.
pub(crate) fn tests_alone(machine: &Machine) -> Vec<Trial> {
    by_backend(machine, ALONE, &[], &[])
}

const ALONE: &[Test] = table![
    ROOT: idle::gate_without_knocks_rarely_wakes,
];

const EVERY: &[Test] = table![
    STRACE: calls::knock_makes_few_system_calls,
    STRACE: kills::engine_killed_at_its_announcement_opens_nothing,
    STRACE: kills::engine_killed_before_its_order_opens_nothing,
    STRACE: kills::monitor_killed_before_opening_opens_nothing,
    STRACE: kills::kernel_ends_grant_of_a_killed_monitor,
    ROOT: kills::kernel_ends_grant_when_both_are_killed,
    ROOT: random_kills::no_kill_opens_a_knock_twice,
    ROOT: suspend::grant_that_ended_during_suspend_is_closed,
    STRACE: memory::monitor_without_memory_leaves_protection,
    ROOT: hostile_engine::forbidden_orders_are_refused_by_rule,
    ROOT: hostile_engine::flood_of_orders_delays_no_close,
];

const ONCE: &[Test] = table![
    STRACE: kills::engine_killed_before_its_write_opens_nothing,
    STRACE: kills::engine_killed_before_its_sync_opens_nothing,
    MOUNT: disk::full_disk_stops_no_knock,
    MOUNT: disk::full_disk_stops_the_first_start,
    MOUNT: disk::read_only_disk_opens_nothing,
    STRACE: disk::failed_write_or_sync_opens_nothing,
    STRACE: disk::slow_sync_delays_the_grant,
    STRACE: hops::one_thread_takes_a_knock_to_its_order,
    ROOT: disk::damaged_store_stops_the_engine,
    STRACE: capture::few_failed_reads_lose_no_knock,
    STRACE: capture::constant_read_failure_ends_the_engine,
    ROOT: control_clients::hostile_clients_delay_no_knock,
    ROOT: memory::start_with_little_memory_serves_or_reports,
    ROOT: memory::many_users_need_little_memory,
    STRACE: memory::engine_without_memory_opens_only_durable,
    ROOT: hostile_engine::invalid_message_ends_the_engine,
    ROOT: hostile_engine::lingering_descriptors_delay_no_close,
    ROOT: hostile_engine::silent_engine_is_replaced,
    ROOT: hostile_engine::engine_with_a_closed_link_is_replaced,
];

// The test knows the registers of this processor.
#[cfg(target_arch = "x86_64")]
const TRACED: &[Test] = table![
    ROOT: hostile_calls::successor_serves_with_all_that_was_lent,
    ROOT: hostile_calls::engine_that_ends_slowly_delays_no_close,
];
#[cfg(not(target_arch = "x86_64"))]
const TRACED: &[Test] = &[];

const NFTABLES: &[Test] = table![
    STRACE: firewall::refused_batch_opens_nothing,
    STRACE: firewall::lost_kernel_answers_are_reconciled,
    STRACE: firewall::slow_kernel_delays_no_close,
    STRACE: hops::monitor_opens_with_few_calls,
];

fn plan(backend: &str) -> GateConfig {
    GateConfig::new(backend).member(USER, "quota = \"1000/min\"\nmax_grants = 1000")
}
