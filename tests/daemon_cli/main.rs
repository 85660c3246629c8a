//! The commands of `posternd`: output, exit codes and errors. No output holds a part of a key.
//!
//! Every run has a network namespace of its own, so that a mistake cannot change the host.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

mod asking;
mod changing;
mod configs;
mod explain;
mod gate;
mod host;
mod roster;
mod running;
mod setting_up;
mod users;

use std::process::ExitCode;

use postern_harness::{Machine, Requirement, run_tests, trials};

/// Requirements of every test.
const NEEDS: [Requirement; 3] = [
    Requirement::Root,
    Requirement::Program("setpriv"),
    Requirement::Program("iptables-restore"),
];

fn main() -> ExitCode {
    let machine = Machine::inspect();
    let with = |program| [&NEEDS[..], &[Requirement::Program(program)]].concat();
    let mut trials = trials![
        machine, &NEEDS;
        asking::status_names_missing_interface,
        asking::status_waits_until_the_gate_serves,
        asking::slow_clients_block_no_question,
        changing::users_of_shared_file_cannot_be_changed,
        changing::changes_keep_comments,
        changing::rotation_keeps_old_key_for_stated_time,
        changing::rotation_replaces_key_files_and_old_keys,
        changing::last_user_of_service_is_not_removed,
        changing::link_to_user_file_stays_a_link,
        configs::config_error_has_file_line_fault_and_cure,
        configs::file_open_to_others_is_refused,
        configs::socket_folder_of_others_is_refused,
        configs::state_folder_with_other_files_is_refused,
        explain::explain_uses_given_time_and_gate_name,
        explain::explain_reads_files_and_standard_input,
        explain::explain_uses_times_of_a_recording,
        explain::explain_reports_damaged_recording,
        explain::explain_follows_hits_of_sequences,
        explain::explain_finds_a_keyed_sequence_of_another_time,
        explain::explain_errors_have_exit_codes,
        explain::recording_is_read_without_privileges,
        host::missing_capability_is_named,
        host::unreadable_config_is_exit_77,
        host::run_as_root_or_unknown_is_refused,
        host::weak_protection_is_a_warning,
        host::broken_iptables_stops_the_start,
        host::wrong_command_line_is_exit_2,
        roster::roster_users_join_the_local_ones,
        roster::signing_without_a_key_needs_a_change,
        roster::bad_rosters_are_refused_with_reasons,
        roster::older_rosters_are_refused_after_damage,
        roster::users_of_two_places_stop_the_load,
        roster::signers_change_and_are_counted,
        roster::wrong_clocks_of_rosters_are_named,
        roster::secrets_are_sealed_for_their_gate,
        roster::check_writes_nothing,
        running::question_without_daemon_is_exit_69,
        running::second_daemon_is_refused,
        running::damaged_store_stops_start,
        running::clock_far_ahead_is_named_and_reset,
        running::daemon_answers_despite_invalid_config,
        running::unknown_socket_falls_back_to_usual_one,
        running::flush_works_with_invalid_config,
        running::hostile_answer_cannot_control_terminal,
        running::maximum_ports_and_interfaces_work,
        setting_up::init_makes_complete_private_gate,
        setting_up::second_init_changes_nothing,
        setting_up::init_completes_existing_config,
        setting_up::init_makes_missing_gate_key,
        setting_up::init_refuses_invalid_files,
        setting_up::init_without_useradd_uses_nobody,
        setting_up::gate_name_defaults_to_host_name,
        setting_up::init_requires_root,
        setting_up::new_gate_accepts_users_while_it_runs,
        users::shared_key_user_has_equal_profile_and_token,
        users::every_option_reaches_file_and_profile,
        users::wrong_user_arguments_write_nothing,
        users::end_of_a_user_is_told,
        users::existing_user_is_not_overwritten,
        users::invalid_config_gets_no_user,
        users::enrolled_user_needs_no_secret,
        users::local_pair_leaves_only_public_key,
        users::code_secret_is_not_in_the_token,
        users::user_list_shows_no_secret,
        users::user_list_needs_little_memory,
        users::concurrent_adds_lose_no_user,
        users::addresses_use_gate_port_and_are_limited,
    ];
    trials
        .extend(trials![machine, &with("script"); asking::status_watch_repeats_until_reader_stops]);
    trials.extend(trials![machine, &with("minisign"); roster::minisign_verifies_and_signs_rosters]);
    run_tests(trials, Vec::new())
}
