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
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

mod behind;
mod bound;
mod broken;
mod bypass;
mod codes;
mod command;
mod crashes;
mod enrolment;
mod explain;
mod flushed;
mod hooks;
mod links;
mod login;
mod observer;
mod peer;
mod policy;
mod prefilter;
mod privileges;
mod proxy;
mod reload;
mod restart;
mod scans;
mod silence;
mod spoofed;
mod status;
mod storm;
mod stun;
mod trial;
mod users;
mod wiped;

use postern_harness::{Machine, Requirement};

/// Every firewall driver that the gate has, and what it or a look at it needs. The tests of [`EVERY`] run with each, those of
/// [`ONCE`] with the first that can.
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
const AT_ONCE: usize = 8;

const NMAP: &[Requirement] = &[Requirement::Program("nmap")];
const SSH: &[Requirement] = &[
    Requirement::Root,
    Requirement::Program("sshd"),
    Requirement::Program("ssh"),
    Requirement::Program("ssh-keygen"),
    Requirement::Program("unshare"),
];
/// A file can be mounted over another one only by root.
const MOUNT: &[Requirement] = &[
    Requirement::Root,
    Requirement::Program("unshare"),
    Requirement::Program("mount"),
];
const IPSET: &[Requirement] = &[
    Requirement::Program("ipset"),
    Requirement::Program("iptables"),
    Requirement::Program("ip6tables"),
];
const IPTABLES: &[Requirement] = &[
    Requirement::Program("iptables"),
    Requirement::Program("ip6tables"),
];

const STUN: &[Requirement] = &[
    Requirement::Root,
    Requirement::Program("turnserver"),
    Requirement::Program("iptables"),
    Requirement::Program("ip6tables"),
    Requirement::Program("sysctl"),
];
const TCPDUMP: &[Requirement] = &[Requirement::Program("tcpdump")];

const NFT_AND_IPTABLES: &[Requirement] = &[
    Requirement::Program("iptables"),
    Requirement::Program("ip6tables"),
    Requirement::Program("nft"),
];
/// A program can be mounted over another one only by root.
const FAKE: &[Requirement] = &[
    Requirement::Root,
    Requirement::Program("iptables"),
    Requirement::Program("mount"),
];

type Test = (&'static str, &'static [Requirement], fn(&'static str));

/// Tests in which the firewall has a part.
const EVERY: &[Test] = &[
    (
        "engine_has_another_user_no_capability_and_few_system_calls",
        &[Requirement::Root, Requirement::Program("setpriv")],
        privileges::engine_has_none,
    ),
    (
        "monitor_keeps_the_capabilities_that_it_needs_and_no_other",
        &[Requirement::Root, Requirement::Program("setpriv")],
        privileges::monitor_has_what_it_needs,
    ),
    (
        "keys_of_the_config_are_in_no_memory_once_the_gate_serves",
        &[Requirement::Root],
        wiped::keys_of_the_config_are_in_no_memory,
    ),
    (
        "nmap_syn_scan_sees_the_port_open_only_from_the_one_address_and_only_during_the_grant",
        NMAP,
        scans::half_open_scan,
    ),
    (
        "nmap_connect_scan_sees_the_port_open_only_from_the_one_address_and_only_during_the_grant",
        NMAP,
        scans::connecting_scan,
    ),
    (
        "ssh_logs_in_only_after_a_knock_and_the_session_outlives_the_grant",
        SSH,
        login::session_outlives_its_grant,
    ),
    (
        "ssh_through_connect_logs_in_and_copies_whole_files_and_knocks_only_at_a_closed_port",
        SSH,
        proxy::ssh_logs_in_through_connect,
    ),
    (
        "run_ends_as_its_command_did_and_closes_the_door",
        SSH,
        proxy::run_closes_the_door_after_its_command,
    ),
    (
        "gate_emits_no_frame_while_10000_packets_of_all_kinds_are_sent_at_it",
        &[],
        silence::passive_gate,
    ),
    (
        "gate_with_a_bound_socket_emits_no_frame_either",
        &[],
        silence::bound_socket,
    ),
    (
        "no_dress_of_a_packet_gets_it_to_the_hidden_service",
        &[],
        bypass::no_dress_of_a_packet_gets_it_to_the_hidden_service,
    ),
    (
        "named_service_leads_its_holder_alone_to_a_host_behind_the_gate",
        &[Requirement::Program("sysctl")],
        behind::forward_by_name,
    ),
    (
        "named_service_that_forwards_ends_its_connections_when_told",
        &[Requirement::Program("sysctl")],
        behind::forward_that_ends_its_connections,
    ),
    (
        "target_opens_one_host_behind_the_gate_to_its_holder_alone",
        &[Requirement::Program("sysctl")],
        behind::target,
    ),
    ("bound_socket_hears_knocks", &[], bound::knock_opens),
    (
        "spoofed_source_opens_for_the_claimed_address_alone",
        &[],
        spoofed::opens_for_the_claimed_address_alone,
    ),
    (
        "knock_opens_for_its_sender_alone_and_ends_by_itself",
        &[],
        users::knock_opens_and_ends,
    ),
    (
        "client_waits_until_the_port_opens_and_says_when_it_does_not",
        &[],
        users::client_waits,
    ),
    ("renewal_extends_the_one_grant", &[], users::renewal_extends),
    (
        "users_close_their_own_grants_and_no_one_elses",
        &[],
        users::users_close_their_own,
    ),
    (
        "administrator_lists_and_closes_grants",
        &[],
        users::administrator_closes,
    ),
    (
        "restart_keeps_grants_until_their_own_end",
        &[],
        restart::grants_live_on,
    ),
    (
        "restart_does_not_use_a_grants_number_again",
        &[],
        restart::new_grants_are_numbered_on,
    ),
    (
        "stop_with_on_stop_remove_leaves_the_firewall_as_it_was",
        IPTABLES,
        restart::stop_removes_when_told,
    ),
    (
        "flush_leaves_the_firewall_as_it_was",
        IPTABLES,
        restart::flush_leaves_nothing,
    ),
    (
        "flush_leaves_a_host_that_never_had_a_rule_without_a_table",
        NFT_AND_IPTABLES,
        restart::flush_leaves_no_table,
    ),
    (
        "flush_after_a_first_start_that_was_cut_short_leaves_no_table",
        NFT_AND_IPTABLES,
        restart::flush_after_a_start_that_was_cut_short,
    ),
    (
        "trial_that_nobody_passes_takes_everything_back",
        IPTABLES,
        trial::nobody_passes,
    ),
    (
        "trial_that_cannot_begin_takes_everything_back",
        IPTABLES,
        trial::that_cannot_begin_takes_everything_back,
    ),
    (
        "kills_at_random_moments_leave_no_grant_too_long_and_lose_none_1",
        &[],
        crashes::first_run,
    ),
    (
        "kills_at_random_moments_leave_no_grant_too_long_and_lose_none_2",
        &[],
        crashes::second_run,
    ),
    (
        "kills_at_random_moments_leave_no_grant_too_long_and_lose_none_3",
        &[],
        crashes::third_run,
    ),
    (
        "kills_at_random_moments_leave_no_grant_too_long_and_lose_none_4",
        &[],
        crashes::fourth_run,
    ),
    (
        "storm_of_reloads_and_kills_ends_in_one_engine_and_one_truth",
        &[],
        storm::of_reloads_and_kills_ends_in_one_engine_and_one_truth,
    ),
    (
        "firewall_that_others_flush_is_put_back_with_all_live_grants",
        NFT_AND_IPTABLES,
        flushed::is_put_back,
    ),
    (
        "knock_into_a_flushed_firewall_is_open_in_the_end_or_refused",
        NFT_AND_IPTABLES,
        flushed::knocks_meanwhile_are_honest,
    ),
    (
        "firewall_that_nobody_changes_is_left_alone",
        &[],
        flushed::unchanged_firewall_is_left_alone,
    ),
];

/// Tests of what is the same with any firewall.
const ONCE: &[Test] = &[
    (
        "peers_knocks_open_with_every_kind_of_key",
        &[Requirement::Peer],
        peer::opens_with_every_kind_of_key,
    ),
    (
        "each_damage_that_the_peer_does_has_its_own_reason_and_opens_nothing",
        &[Requirement::Peer],
        peer::each_damage_has_its_reason,
    ),
    (
        "each_broken_body_of_the_peer_has_its_own_rule_and_opens_nothing",
        &[Requirement::Peer],
        peer::each_broken_body_has_its_rule,
    ),
    (
        "replays_are_told_from_duplicates_and_open_nothing",
        &[Requirement::Peer],
        peer::replays_are_told_from_duplicates,
    ),
    (
        "policy_refusal_is_one_line_with_user_wish_and_rule_and_opens_nothing",
        &[],
        policy::refusals,
    ),
    (
        "spent_quota_is_refused_and_comes_back",
        &[],
        policy::quota_spent_comes_back,
    ),
    (
        "spoofed_source_is_refused_where_only_the_observed_address_counts",
        &[],
        spoofed::is_refused_where_only_the_observed_address_counts,
    ),
    (
        "client_forges_the_source_that_it_is_told_and_opens_for_the_claimed_address",
        &[],
        spoofed::client_forges_the_source_that_it_is_told,
    ),
    (
        "stun_server_tells_the_outer_address_and_the_knock_opens_for_it",
        STUN,
        stun::knock_opens_for_the_outer_address,
    ),
    (
        "stun_servers_that_disagree_or_are_silent_send_no_knock",
        STUN,
        stun::no_knock_where_servers_disagree_or_are_silent,
    ),
    (
        "explain_of_a_recorded_mix_says_what_the_gate_did_and_why",
        TCPDUMP,
        explain::recording_of_a_mix,
    ),
    (
        "explain_live_tells_of_a_wrong_key_while_the_gate_goes_on",
        &[],
        explain::live_beside_the_gate,
    ),
    (
        "explain_asks_the_running_gate_what_it_remembers",
        &[],
        explain::asks_the_running_gate,
    ),
    (
        "status_tells_what_the_kernel_dropped",
        &[],
        status::kernel_drops_are_told,
    ),
    (
        "status_tells_which_interface_is_lost",
        &[],
        status::lost_interface_is_told,
    ),
    (
        "status_and_grants_count_down",
        &[],
        status::quotas_and_grants_count_down,
    ),
    (
        "knock_out_of_a_tunnel_opens",
        &[Requirement::Tun],
        links::knock_out_of_a_tunnel,
    ),
    (
        "link_that_goes_down_and_up_is_heard_again",
        &[],
        links::link_down_and_up,
    ),
    (
        "interface_that_is_deleted_and_made_again_is_heard_again",
        &[],
        links::interface_deleted_and_made_again,
    ),
    (
        "interface_that_comes_late_is_heard_and_no_other",
        &[],
        links::interface_that_comes_late,
    ),
    (
        "keys_are_in_no_command_line_environment_or_log",
        &[Requirement::Root],
        privileges::keys_are_not_on_show,
    ),
    (
        "scp_through_connect_copies_a_whole_file",
        SSH,
        proxy::scp_copies_through_connect,
    ),
    (
        "way_in_is_the_family_that_is_let_in",
        MOUNT,
        proxy::way_in_is_the_family_that_is_let_in,
    ),
    (
        "connect_says_when_the_gate_does_not_open",
        SSH,
        proxy::connect_says_when_the_gate_does_not_open,
    ),
    (
        "run_keeps_the_door_open_as_long_as_its_command_runs",
        SSH,
        proxy::run_keeps_the_door_open,
    ),
    (
        "client_waits_and_connects_behind_the_gate",
        &[Requirement::Program("sysctl")],
        behind::client_waits_and_connects,
    ),
    (
        "codes_of_an_authenticator_open_once_for_each_family",
        &[Requirement::Program("python3")],
        codes::open_once_for_each_family,
    ),
    (
        "codes_that_are_guessed_are_held_up_and_no_log_has_a_secret",
        &[Requirement::Program("python3")],
        codes::wrong_ones_are_held_up_and_no_log_has_a_secret,
    ),
    (
        "trial_ends_well_with_a_knock",
        &[],
        trial::passed_by_a_knock,
    ),
    (
        "trial_ends_well_when_it_is_confirmed",
        &[],
        trial::passed_by_confirmation,
    ),
    (
        "rules_of_another_driver_are_taken_out_at_the_start",
        IPTABLES,
        restart::another_drivers_rules_go,
    ),
    (
        "replay_after_a_restart_is_refused",
        &[],
        restart::marks_live_on,
    ),
    (
        "command_opens_and_closes_each_service_and_a_refused_knock_runs_nothing",
        &[],
        command::opens_and_closes_and_a_refused_knock_runs_nothing,
    ),
    (
        "command_that_fails_is_a_refusal_of_the_firewall",
        &[],
        command::program_that_fails_is_a_refusal_of_the_firewall,
    ),
    (
        "command_closes_at_the_next_start_what_ended_after_a_kill",
        &[],
        command::killed_monitor_closes_at_its_next_start,
    ),
    (
        "command_close_that_fails_is_tried_until_it_works",
        &[],
        command::close_that_fails_is_tried_until_it_works,
    ),
    (
        "command_with_a_damaged_journal_does_not_start",
        &[],
        command::damaged_journal_keeps_it_from_starting,
    ),
    (
        "example_ipset_opens_and_closes_a_real_set",
        IPSET,
        command::ipset_example,
    ),
    (
        "example_pf_anchor_loads_each_change",
        &[],
        command::pf_example,
    ),
    (
        "hooks_run_after_opening_and_after_the_end",
        &[],
        hooks::run_after_opening_and_after_the_end,
    ),
    (
        "hook_that_hangs_delays_no_knock_and_no_closing",
        &[],
        hooks::hanging_hook_delays_no_knock_and_no_closing,
    ),
    (
        "hook_on_close_is_made_up_for_after_a_kill",
        &[],
        hooks::on_close_is_made_up_for_after_a_kill,
    ),
    (
        "killed_monitor_takes_its_engine_with_it",
        &[],
        crashes::engine_goes_with_its_monitor,
    ),
    (
        "killed_engine_comes_back_by_itself_and_grants_live_on",
        &[],
        crashes::engine_comes_back_again_and_again,
    ),
    (
        "failed_opening_is_refused_once_and_leaves_nothing_open",
        FAKE,
        broken::failed_opening_is_refused_and_leaves_nothing,
    ),
    (
        "failed_closing_is_tried_again_until_it_is_done",
        FAKE,
        broken::failed_closing_is_tried_again_until_it_is_done,
    ),
    (
        "opening_by_an_orphaned_program_is_found_and_closed",
        FAKE,
        broken::opening_by_an_orphaned_program_is_found_and_closed,
    ),
    (
        "failed_renewal_leaves_the_old_end",
        FAKE,
        broken::failed_renewal_leaves_the_old_end,
    ),
    (
        "enrolment_with_a_shared_key_ends_in_an_open_port",
        &[],
        enrolment::with_a_shared_key_ends_in_an_open_port,
    ),
    (
        "enrolment_with_a_key_pair_ends_in_an_open_port_and_no_secret_has_travelled",
        &[],
        enrolment::with_a_key_pair_ends_in_an_open_port_and_no_secret_has_travelled,
    ),
    (
        "user_with_a_new_key_may_use_the_old_one_until_its_end_and_without_a_reload_no_longer",
        &[],
        enrolment::with_a_new_key_the_old_one_counts_until_its_end_and_without_a_reload_no_longer,
    ),
    (
        "user_once_disabled_loses_what_is_open_and_counts_for_nothing_until_enabled",
        &[],
        enrolment::once_disabled_closes_what_is_open_and_counts_for_nothing_until_enabled,
    ),
    (
        "user_add_says_when_the_running_gate_does_not_take_it",
        &[],
        enrolment::says_when_the_running_gate_does_not_take_it,
    ),
    (
        "reload_loses_none_of_a_stream_of_knocks",
        &[],
        reload::under_a_stream_of_knocks,
    ),
    (
        "reload_loses_none_of_a_stream_of_knocks_to_a_bound_socket",
        &[],
        reload::under_a_stream_of_knocks_to_a_bound_socket,
    ),
    (
        "reload_of_a_broken_config_changes_nothing",
        &[],
        reload::of_a_broken_config_changes_nothing,
    ),
    (
        "reload_closes_the_grants_of_a_removed_user_and_keeps_the_others",
        &[],
        reload::closes_the_grants_of_a_removed_user,
    ),
    (
        "reload_brings_users_window_ports_and_name_into_force",
        &[],
        reload::brings_users_window_ports_and_name_into_force,
    ),
    (
        "reload_by_command_is_answered_honestly",
        &[],
        reload::by_command_is_answered_honestly,
    ),
    (
        "reload_by_many_commands_at_once_is_done_for_each",
        &[],
        reload::by_many_commands_at_once_is_done_for_each,
    ),
    (
        "hint_filter_drops_junk_in_the_kernel_and_counts_it_and_knocks_open",
        &[Requirement::Root],
        prefilter::junk_is_dropped_and_counted_and_knocks_open,
    ),
    (
        "hint_filter_loses_none_of_a_stream_of_knocks_over_a_reload",
        &[Requirement::Root],
        prefilter::reload_under_a_stream_loses_none,
    ),
    (
        "hint_filter_lets_knocks_of_the_next_step_through",
        &[Requirement::Root],
        prefilter::knocks_open_in_the_next_step_too,
    ),
    (
        "hint_filter_that_may_not_be_loaded_is_done_without",
        &[Requirement::Root, Requirement::Program("setpriv")],
        prefilter::without_the_right_to_load_it_all_goes_on,
    ),
    (
        "reload_again_and_again_ends_in_one_engine",
        &[],
        reload::again_and_again_ends_in_one_engine,
    ),
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
    let every = BACKENDS
        .iter()
        .flat_map(|backend| EVERY.iter().map(|test| trial(backend, test)));
    let trials: Vec<Trial> = every
        .chain(ONCE.iter().map(|test| trial(once, test)))
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
