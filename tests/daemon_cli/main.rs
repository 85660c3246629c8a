//! What `posternd` says of bad input: one clear line, the right exit code, and never a part of a key.
//!
//! Every run has a network namespace of its own, so that a config which is accepted by mistake can't touch the host.
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
mod running;
mod setting_up;
mod users;
#[path = "../recording/written.rs"]
#[allow(dead_code, reason = "other tests write more kinds")]
mod written;

use std::process::ExitCode;

use libtest_mimic::Arguments;

use postern_harness::{Machine, Requirement, trials};

/// What each of them needs: to make namespaces and to change users, and the firewall that most configs name.
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
        asking::status_tells_gate_captures_store_and_what_is_open_in_text_and_json,
        asking::status_says_which_interface_is_not_listened_on_and_why,
        asking::status_waits_until_the_gate_serves,
        asking::a_question_gets_through_while_fifty_slow_askers_hang,
        changing::users_of_a_shared_file_are_shown_but_changing_them_is_refused_with_file_and_line,
        changing::changes_keep_comments_and_everything_else_of_a_users_file,
        changing::rotation_gives_each_kind_of_user_a_new_key_and_keeps_the_old_one_for_the_stated_time,
        changing::the_last_user_of_a_service_is_not_removed_without_a_word,
        changing::a_link_to_a_users_file_stays_a_link_and_others_may_still_read_nothing,
        configs::what_is_wrong_in_the_text_is_said_with_file_line_fault_and_cure,
        configs::a_user_in_a_file_of_his_own_is_refused_with_that_file,
        configs::a_file_that_others_could_read_or_change_is_refused_with_the_command_that_helps,
        configs::a_file_that_is_not_there_or_is_no_file_is_refused,
        configs::every_problem_is_shown_at_once_whatever_its_kind,
        configs::check_says_the_same_as_json_of_a_known_version,
        explain::a_packet_on_the_command_line_is_told_in_one_line_and_every_step_when_asked,
        explain::json_is_one_object_a_datagram_with_a_version,
        explain::packets_come_from_a_file_or_standard_input_in_any_number_and_a_second_copy_is_a_replay,
        explain::a_recording_is_told_by_the_times_and_sources_in_it,
        explain::a_recording_without_knocks_or_with_damage_says_so,
        explain::what_is_no_packet_no_file_and_no_right_is_one_line_with_its_exit_code,
        explain::a_recording_is_read_without_privileges,
        host::without_privilege_the_missing_capability_is_named,
        host::a_file_that_the_caller_may_not_read_is_a_lack_of_permission,
        host::a_user_to_run_as_that_is_unknown_or_root_is_refused,
        host::an_interface_that_is_not_there_is_a_warning,
        host::a_config_in_which_nobody_may_do_anything_or_nothing_is_closed_is_warned_about,
        host::a_missing_iptables_is_said_with_the_way_to_install_it,
        host::a_firewall_program_that_fails_keeps_the_daemon_from_starting,
        host::a_command_line_that_is_wrong_is_a_usage_error,
        running::a_question_without_a_daemon_is_one_line_that_says_so,
        running::a_daemon_that_answers_nonsense_or_nothing_is_no_daemon,
        running::a_second_daemon_on_the_same_control_socket_is_refused_and_the_first_serves_on,
        running::two_daemons_with_one_state_folder_do_not_share_its_store,
        running::a_damaged_store_keeps_the_daemon_from_starting_and_says_the_way_out_once,
        running::a_daemon_that_runs_is_asked_also_where_its_config_is_wrong_by_now,
        running::where_the_config_can_not_name_a_socket_the_usual_one_is_asked_and_that_is_said,
        running::a_flush_with_a_config_that_is_wrong_opens_the_ports_sees_the_daemon_and_says_what_it_left,
        running::what_a_hostile_engine_answers_moves_no_cursor_of_roots_terminal,
        running::as_many_ports_and_interfaces_as_a_config_may_name_are_listened_on,
        setting_up::a_new_gate_is_complete_closed_to_others_and_right,
        setting_up::a_second_run_keeps_everything_to_the_byte_and_says_so,
        setting_up::a_config_that_is_there_says_where_everything_lies_and_what_is_missing_is_made,
        setting_up::a_config_without_a_private_key_gets_one_beside_it_and_the_line_to_add,
        setting_up::users_with_key_pairs_may_be_there_before_the_gates_own_key_is,
        setting_up::what_is_there_and_wrong_is_told_and_nothing_is_changed,
        setting_up::where_no_user_can_be_made_the_engine_runs_as_nobody_and_that_is_said,
        setting_up::without_a_name_the_gate_is_called_as_its_host_is,
        setting_up::init_says_the_same_as_json,
        setting_up::who_is_not_root_is_told_so,
        setting_up::a_new_gate_runs_and_takes_users_in_as_they_come,
        users::a_user_with_a_shared_key_is_one_closed_file_a_profile_and_a_token_that_say_the_same,
        users::every_option_reaches_the_file_and_what_the_client_must_know_the_profile,
        users::what_the_command_line_says_wrong_is_all_told_in_a_line_each_and_nothing_is_written,
        users::a_user_or_a_file_that_is_there_is_never_written_over,
        users::a_config_that_is_wrong_as_it_is_gets_no_user_and_says_why,
        users::enrolled_user_costs_no_secret_on_the_way_or_in_the_config,
        users::pair_that_is_made_here_leaves_only_its_public_half_and_says_that_there_is_a_better_way,
        users::one_time_codes_have_a_secret_of_their_own_that_is_not_in_the_token,
        users::users_are_listed_and_shown_with_place_and_state_and_no_secret,
        users::many_at_once_are_all_added_and_none_is_lost,
        users::a_gate_whose_name_is_no_host_needs_an_address,
        users::an_address_of_the_command_line_has_the_gates_own_port_and_there_are_at_most_four,
    ];
    trials.extend(trials![machine, &with("python3"); asking::whoever_is_not_root_is_refused_also_where_the_sockets_mode_was_loosened]);
    trials.extend(trials![machine, &with("script"); asking::status_is_watched_block_by_block_until_the_reader_has_seen_enough]);
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
