//! The table of faults: each point, and the tests that inject there.
//!
//! A list that a reader can check against the tree, and the tree is checked against it: a test that is gone or has another name
//! fails here. What a point can't show on a machine that tests is said beside it.

use std::fs;
use std::path::Path;

/// Where a fault is injected.
struct Point {
    /// What is broken, and how.
    name: &'static str,
    /// The tests that do it: a file, and the functions in it.
    tests: &'static [(&'static str, &'static [&'static str])],
}

const fn point(
    name: &'static str,
    tests: &'static [(&'static str, &'static [&'static str])],
) -> Point {
    Point { name, tests }
}

const POINTS: &[Point] = &[
    // --- the store ---
    point(
        "store: disk full",
        &[
            (
                "tests/faults/disk.rs",
                &["full_disk_opens_nothing_and_is_told_and_knocks_work_again_once_there_is_room"],
            ),
            (
                "tests/scenarios/failing.rs",
                &["while_the_disk_fails_nothing_opens_and_the_same_knock_stays_refused"],
            ),
        ],
    ),
    point(
        "store: read-only",
        &[(
            "tests/faults/disk.rs",
            &["disk_that_turns_read_only_is_told_and_knocks_work_again_once_it_is_writable"],
        )],
    ),
    point(
        "store: torn write",
        &[(
            "src/store/disk/tests/prefixes.rs",
            &[
                "every_prefix_of_the_stores_writes_opens_with_every_confirmed_mark_also_where_the_last_write_is_torn",
                "any_part_of_what_was_written_since_the_last_sync_opens_with_every_confirmed_mark",
            ],
        )],
    ),
    point(
        "store: failing sync",
        &[(
            "tests/faults/disk.rs",
            &["sync_that_fails_opens_nothing_and_a_fresh_engine_serves"],
        )],
    ),
    point(
        "store: slow sync",
        &[
            (
                "tests/faults/disk.rs",
                &["slow_sync_holds_the_door_until_the_mark_is_durable"],
            ),
            (
                "tests/scenarios/failing.rs",
                &["while_the_disk_is_slow_nothing_opens_and_then_it_does"],
            ),
        ],
    ),
    point(
        "store: damaged file",
        &[
            (
                "tests/faults/disk.rs",
                &["damaged_store_keeps_an_engine_from_serving_and_says_so_in_one_line"],
            ),
            (
                "tests/store.rs",
                &[
                    "a_file_cut_short_at_any_length_never_opens_with_fewer_marks",
                    "a_page_lost_or_swapped_with_another_refuses_or_leaves_every_mark",
                    "a_flipped_byte_anywhere_refuses_or_leaves_every_mark",
                    "bytes_of_something_else_are_refused",
                ],
            ),
        ],
    ),
    point(
        "store: file gone, or somebody else's",
        &[(
            "src/store/disk/tests.rs",
            &[
                "a_file_that_vanishes_under_a_store_in_trouble_is_not_made_anew",
                "a_second_opening_is_refused_and_does_not_tell_to_move_the_file_away",
                "a_draft_of_a_first_start_that_was_cut_short_is_no_hindrance",
            ],
        )],
    ),
    // --- the firewall ---
    point(
        "firewall: fails",
        &[
            (
                "tests/gate/broken.rs",
                &[
                    "failed_opening_is_refused_and_leaves_nothing",
                    "failed_closing_is_tried_again_until_it_is_done",
                    "failed_renewal_leaves_the_old_end",
                ],
            ),
            (
                "tests/faults/firewall.rs",
                &[
                    "kernel_that_takes_no_batch_is_told_as_failed_and_opens_nothing",
                    "answers_of_the_kernel_that_are_lost_leave_one_truth",
                ],
            ),
            (
                "tests/gate/command.rs",
                &[
                    "program_that_fails_is_a_refusal_of_the_firewall",
                    "close_that_fails_is_tried_until_it_works",
                ],
            ),
        ],
    ),
    point(
        "firewall: hangs",
        &[
            (
                "tests/gate/broken.rs",
                &[
                    "failed_opening_is_refused_and_leaves_nothing",
                    "opening_by_an_orphaned_program_is_found_and_closed",
                ],
            ),
            (
                "tests/iptables.rs",
                &[
                    "an_iptables_that_fails_hangs_babbles_or_is_locked_is_reported_and_leaves_nothing_half_open",
                ],
            ),
            (
                "tests/faults/firewall.rs",
                &["kernel_that_is_slow_delays_a_knock_and_no_end"],
            ),
        ],
    ),
    point(
        "firewall: flushed under us",
        &[
            (
                "tests/gate/flushed.rs",
                &["is_put_back", "knocks_meanwhile_are_honest"],
            ),
            ("tests/crowd/flushed.rs", &["is_put_back"]),
            (
                "tests/nftables/repair.rs",
                &[
                    "a_table_deleted_behind_our_back_is_put_back_with_the_next_change",
                    "a_flushed_set_and_an_element_of_somebody_else_do_not_make_a_change_fail",
                    "install_repairs_everything_and_opens_the_given_grants_and_no_others",
                ],
            ),
        ],
    ),
    point(
        "firewall: set full",
        &[
            (
                "tests/nftables/scale.rs",
                &["a_full_set_refuses_the_next_grant_and_says_so_and_the_others_stay"],
            ),
            (
                "tests/nftables/holders.rs",
                &[
                    "one_change_that_fails_leaves_the_others_of_its_batch_done_and_nothing_half_open",
                ],
            ),
            (
                "src/ledger.rs",
                &["a_full_ledger_refuses_a_new_door_but_still_extends_an_old_one"],
            ),
        ],
    ),
    // --- the capture ---
    point(
        "capture: interface deleted, and made again",
        &[
            (
                "tests/gate/links.rs",
                &[
                    "interface_deleted_and_made_again",
                    "link_down_and_up",
                    "interface_that_comes_late",
                ],
            ),
            (
                "tests/capture/links.rs",
                &[
                    "an_interface_that_is_deleted_and_made_again_is_captured_from_and_no_descriptor_leaks",
                    "an_interface_that_was_replaced_between_two_looks_is_told_and_captured_from",
                ],
            ),
        ],
    ),
    point(
        "capture: interface renamed",
        &[
            (
                "tests/faults/capture.rs",
                &["interface_that_takes_another_name_is_let_go_and_heard_again_under_its_own"],
            ),
            (
                "tests/capture/links.rs",
                &[
                    "an_interface_that_takes_another_name_is_let_go_and_the_next_of_the_name_is_captured_from",
                ],
            ),
        ],
    ),
    point(
        "capture: ENOBUFS",
        &[
            (
                "tests/faults/capture.rs",
                &[
                    "reads_that_fail_a_few_times_lose_no_knock",
                    "reads_that_only_fail_end_the_engine_with_a_reason_and_the_next_one_hears",
                ],
            ),
            ("tests/gate/status.rs", &["kernel_drops_are_told"]),
        ],
    ),
    // --- the clock: virtual, for a namespace can't have a wall clock of its own ---
    point(
        "clock: a step forward",
        &[(
            "tests/scenarios/clocks.rs",
            &[
                "a_clock_set_forward_forgets_no_mark_that_could_still_be_replayed",
                "a_clock_that_was_ahead_for_a_while_locks_nobody_out",
            ],
        )],
    ),
    point(
        "clock: a step backward",
        &[
            (
                "tests/scenarios/clocks.rs",
                &["a_clock_set_back_brings_no_old_knock_back_and_keeps_no_door_open"],
            ),
            (
                "tests/scenarios/restart.rs",
                &["a_fresh_engine_keeps_the_clock_from_counting_backwards"],
            ),
        ],
    ),
    // No machine that tests can be suspended: the jump is virtual, and on the real kernel the processes are stopped.
    point(
        "clock: suspend",
        &[
            (
                "tests/scenarios/clocks.rs",
                &[
                    "a_host_that_slept_past_the_end_of_a_grant_closes_it_as_it_wakes_and_admits_no_replay",
                ],
            ),
            (
                "tests/faults/asleep.rs",
                &["gate_that_wakes_after_the_end_of_a_grant_has_closed_it_and_admits_no_replay"],
            ),
        ],
    ),
    // --- the processes ---
    point(
        "kill -9: before the commit",
        &[(
            "tests/faults/kills.rs",
            &[
                "engine_killed_as_it_begins_to_write_a_mark_opens_nothing_and_the_knock_may_come_again",
                "engine_killed_before_its_commit_is_synced_opens_nothing",
            ],
        )],
    ),
    point(
        "kill -9: after the commit",
        &[
            (
                "tests/faults/kills.rs",
                &[
                    "engine_killed_after_its_commit_and_before_its_order_opens_nothing_and_no_replay",
                ],
            ),
            ("tests/store.rs", &["what_commit_confirmed_survives_kill_9"]),
        ],
    ),
    point(
        "kill -9: after the order",
        &[
            (
                "tests/faults/kills.rs",
                &[
                    "engine_killed_after_its_order_leaves_one_door_with_an_end",
                    "monitor_killed_with_an_order_in_hand_opens_nothing_and_no_replay",
                    "monitor_killed_after_opening_and_before_its_report_leaves_the_end_to_the_kernel",
                ],
            ),
            (
                "src/monitor/serve/tests.rs",
                &["orders_that_an_engine_gave_before_it_died_are_carried_out"],
            ),
        ],
    ),
    point(
        "kill -9: after the report",
        &[(
            "tests/faults/kills.rs",
            &["both_killed_after_the_report_leave_the_end_to_the_kernel_and_no_replay"],
        )],
    ),
    point(
        "kill -9: at any moment",
        &[
            (
                "tests/gate/crashes.rs",
                &[
                    "first_run",
                    "second_run",
                    "third_run",
                    "fourth_run",
                    "engine_goes_with_its_monitor",
                ],
            ),
            (
                "tests/gate/storm.rs",
                &["of_reloads_and_kills_ends_in_one_engine_and_one_truth"],
            ),
            (
                "tests/gate/restart.rs",
                &["marks_live_on", "flush_after_a_start_that_was_cut_short"],
            ),
            (
                "tests/model/proof.rs",
                &["invariants_3_4_and_10_hold_in_every_state_of_the_house_on_paper"],
            ),
        ],
    ),
    // --- the control socket ---
    point(
        "control: clients that never read, say half a line, a huge one or junk, and many of them",
        &[
            (
                "tests/faults/askers.rs",
                &["hostile_clients_hold_up_no_knock_and_no_question"],
            ),
            (
                "src/control/server/tests.rs",
                &[
                    "nonsense_is_told_so_and_a_question_without_a_line_end_is_one",
                    "askers_who_are_slow_or_do_not_listen_hold_up_nobody_else",
                ],
            ),
        ],
    ),
    point(
        "control: a client that is not root",
        &[(
            "src/control/server/tests.rs",
            &["whoever_is_not_root_is_refused_whatever_the_mode_of_the_socket"],
        )],
    ),
    // --- memory ---
    point(
        "memory: a limit on address space",
        &[(
            "tests/faults/memory.rs",
            &[
                "start_with_little_memory_serves_or_ends_with_a_reason",
                "engine_that_gets_no_more_memory_opens_only_what_is_durable_and_another_one_follows",
                "monitor_that_gets_no_more_memory_leaves_protection_and_ends_to_the_kernel",
            ],
        )],
    ),
    // --- an engine that lies ---
    point(
        "engine: orders for users that do not exist, services outside the policy, durations past the maximum, addresses outside `networks`",
        &[
            (
                "tests/faults/liar.rs",
                &["orders_that_no_policy_allows_are_refused_each_by_its_rule"],
            ),
            (
                "src/monitor/clearance.rs",
                &[
                    "invariant_5_the_engine_can_ask_for_nothing_that_the_policy_of_that_user_does_not_allow",
                ],
            ),
            (
                "src/monitor/serve/tests.rs",
                &["orders_that_the_policy_does_not_allow_are_refused_each_and_open_nothing"],
            ),
        ],
    ),
    point(
        "engine: malformed and oversized orders",
        &[
            (
                "tests/faults/liar.rs",
                &["malformed_and_oversized_messages_end_that_engine_alone"],
            ),
            (
                "src/monitor/serve/tests.rs",
                &[
                    "bytes_that_are_no_order_end_the_engine_and_open_nothing_and_the_monitor_goes_on",
                ],
            ),
        ],
    ),
    point(
        "engine: a flood of orders",
        &[
            (
                "tests/faults/liar.rs",
                &["flood_of_orders_delays_no_end_and_no_stop"],
            ),
            (
                "src/monitor/serve/tests.rs",
                &[
                    "a_flood_of_orders_is_taken_in_batches_and_each_is_answered",
                    "an_engine_that_talks_without_end_is_heard_in_batches_so_that_doors_close_in_time",
                    "an_engine_that_does_not_listen_can_not_make_the_monitor_pile_up_reports",
                    "an_engine_that_asks_for_reload_after_reload_gets_few_of_them_and_keeps_nobody_from_closing",
                ],
            ),
        ],
    ),
    point(
        "engine: silence",
        &[
            (
                "tests/faults/liar.rs",
                &["silence_ends_the_engine_and_another_one_serves"],
            ),
            (
                "src/monitor/serve/tests.rs",
                &["an_engine_that_answers_is_asked_on_and_one_that_does_not_is_ended"],
            ),
        ],
    ),
    point(
        "engine: descriptors closed, and descriptors that nobody asked for",
        &[(
            "tests/faults/liar.rs",
            &[
                "link_that_is_closed_ends_the_engine_and_another_one_serves",
                "descriptors_that_come_with_orders_are_let_go",
            ],
        )],
    ),
];

/// Fails for a test that is not there any more.
pub(crate) fn name_tests_that_there_are() -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut missing = Vec::new();
    for point in POINTS {
        if point.tests.iter().all(|(_, names)| names.is_empty()) {
            missing.push(format!("{}: no test", point.name));
        }
        for (file, names) in point.tests {
            let text = fs::read_to_string(root.join(file)).unwrap_or_default();
            let absent = names
                .iter()
                .filter(|name| !text.contains(&format!("fn {name}(")));
            missing.extend(absent.map(|name| format!("{}: {file}: {name}", point.name)));
        }
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(format!("not there:\n{}", missing.join("\n")))
    }
}

/// Fails for a test of a fault that stands at no point.
pub(crate) fn hold(names: &[&str]) -> Result<(), String> {
    let named: Vec<&str> = POINTS
        .iter()
        .flat_map(|point| point.tests)
        .flat_map(|(_, names)| *names)
        .copied()
        .collect();
    let homeless: Vec<&str> = names
        .iter()
        .filter(|name| !named.contains(name))
        .copied()
        .collect();
    if homeless.is_empty() {
        Ok(())
    } else {
        Err(format!("at no point of the table: {}", homeless.join(", ")))
    }
}
