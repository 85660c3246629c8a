//! The whole gate against the real kernel: a real posternd, the real client, real scanners and sessions, both families.
//!
//! Each test has a world of its own, which `postern_harness::world` draws. The host's network and firewall stay untouched.

use libtest_mimic::Trial;
use postern_harness::Requirement::{self, Program};
use postern_harness::{Machine, world::by_backend};

mod behind;
mod broken;
mod bypass;
mod clocks;
mod codes;
mod command;
mod connect;
mod crashes;
mod enrolment;
mod explain;
mod flushed;
mod fwknop;
mod fwknop_profiles;
mod hooks;
mod knock_port;
mod links;
mod log_lines;
mod lossy;
mod networks;
mod observer;
mod peer;
mod prefilter;
mod privileges;
mod redirect;
mod reload;
mod resolvers;
mod restart;
mod roster;
mod scans;
mod sensor;
mod sequence_load;
mod sequences;
mod silence;
mod spoofed;
mod status;
mod storm;
mod stun;
mod trial;
mod users;
mod why_not;
mod wiped;

const NONE: &[Requirement] = &[];
const ROOT: &[Requirement] = &[Requirement::Root];
const PEER: &[Requirement] = &[Requirement::Peer];
const TUN: &[Requirement] = &[Requirement::Tun];
const PYTHON: &[Requirement] = &[Program("python3")];
const FWKNOP: &[Requirement] = &[Program("fwknop")];
const FWKNOPD: &[Requirement] = &[Program("fwknopd"), Program("iptables")];
const KNOCK: &[Requirement] = &[Program("knock")];
const CLASSIC: &[Requirement] = &[
    Program("fwknop"),
    Program("knock"),
    Program("nft"),
    Program("iptables"),
];
const SENSOR: &[Requirement] = &[Requirement::Root, Program("setpriv"), Program("nft")];
const KNOCK_OPENSSL: &[Requirement] = &[Program("knock"), Program("python3"), Program("openssl")];
const NFT: &[Requirement] = &[Program("nft")];
const SYSCTL: &[Requirement] = &[Program("sysctl")];
const NMAP: &[Requirement] = &[Program("nmap")];
const KMSG: &[Requirement] = &[
    Requirement::Root,
    Program("knock"),
    Program("nft"),
    Program("iptables"),
];
const RSYSLOG: &[Requirement] = &[
    Requirement::Root,
    Program("knock"),
    Program("nft"),
    Program("rsyslogd"),
];
const JOURNAL: &[Requirement] = &[
    Requirement::Root,
    Program("knock"),
    Program("nft"),
    Program("journalctl"),
    Program("nsenter"),
    Program("logger"),
];
const SETPRIV: &[Requirement] = &[Requirement::Root, Program("setpriv")];
const MOUNT: &[Requirement] = &[Requirement::Root, Program("unshare"), Program("mount")];
const CC: &[Requirement] = &[Requirement::Root, Program("cc"), Program("mount")];
const FAKE: &[Requirement] = &[Requirement::Root, Program("iptables"), Program("mount")];
const IPTABLES: &[Requirement] = &[Program("iptables"), Program("ip6tables")];
const BOTH: &[Requirement] = &[Program("iptables"), Program("ip6tables"), Program("nft")];
const IPSET: &[Requirement] = &[Program("ipset"), Program("iptables"), Program("ip6tables")];
const ROUTER: &[Requirement] = &[
    Requirement::Root,
    Program("unshare"),
    Program("mount"),
    Program("iptables"),
    Program("sysctl"),
];
const NAT64: &[Requirement] = &[
    Requirement::Root,
    Program("unshare"),
    Program("mount"),
    Program("tayga"),
    Program("ip6tables"),
    Program("sysctl"),
];
const NAT: &[Requirement] = &[Program("iptables"), Program("ip6tables"), Program("sysctl")];
const STUN: &[Requirement] = &[
    Requirement::Root,
    Program("turnserver"),
    Program("iptables"),
    Program("ip6tables"),
    Program("sysctl"),
];

/// The tests, with the function's name as the test's.
pub(crate) fn tests(machine: &Machine) -> Vec<Trial> {
    by_backend(machine, EVERY, ONCE, NFTABLES)
}

/// Tests that measure time and need the machine for themselves.
pub(crate) fn tests_alone(machine: &Machine) -> Vec<Trial> {
    by_backend(machine, ALONE, ALONE_ONCE, &[])
}

const ALONE: &[postern_harness::world::Test] = postern_harness::table![
    BOTH: flushed::flushed_rules_are_restored,
];

const ALONE_ONCE: &[postern_harness::world::Test] = postern_harness::table![
    KNOCK: sequence_load::keyed_sequences_open_under_spoofed_sources,
];

/// Tests in which the firewall matters: they run with each driver.
const EVERY: &[postern_harness::world::Test] = postern_harness::table![
    NMAP: scans::nmap_sees_the_port_only_during_the_grant,
    FWKNOP: fwknop::fwknop_client_opens_the_port,
    FWKNOP: fwknop::imported_access_conf_admits_its_client,
    FWKNOP: fwknop::fwknop_packets_are_refused_by_reason,
    FWKNOP: fwknop::fwknop_nat_and_commands_follow_the_config,
    NONE: fwknop_profiles::imported_stanza_knocks_the_gate,
    SETPRIV: privileges::engine_has_no_privileges,
    SETPRIV: privileges::monitor_keeps_only_needed_capabilities,
    NONE: silence::gate_sends_no_frame,
    SENSOR: sensor::knocks_open_without_a_packet_socket,
    CLASSIC: sensor::classic_clients_open_on_a_dropping_host,
    PYTHON: sensor::taken_group_stops_the_start,
    NONE: sensor::full_nflog_socket_is_counted,
    NONE: sensor::nflog_knocks_count_on_named_interfaces,
    NONE: sensor::reload_with_nflog_loses_no_knock,
    KNOCK: sequences::knockd_client_opens_the_service,
    KNOCK: sequences::sequence_ports_answer_nobody,
    KNOCK: sequences::keyed_sequence_opens_once,
    KNOCK_OPENSSL: sequences::encrypted_sequence_opens_once_for_ever,
    KMSG: log_lines::lines_of_the_kernels_log_open,
    NONE: bypass::fragments_and_options_reach_no_hidden_service,
    SYSCTL: behind::named_service_forwards_to_inner_host,
    SYSCTL: behind::forward_ends_its_connections,
    NONE: redirect::redirect_opens_only_its_own_port,
    IPTABLES: redirect::redirect_opens_through_the_hosts_rules,
    NONE: redirect::forward_to_the_gate_itself_is_refused,
    BOTH: knock_port::local_service_and_knocks_share_a_port,
    BOTH: knock_port::answers_to_the_gate_pass,
    BOTH: knock_port::hidden_service_stays_hidden_on_the_knock_port,
    SYSCTL: behind::accept_of_others_opens_no_inner_host,
    NONE: users::knock_opens_for_its_sender_and_ends,
    NONE: users::session_outlives_its_grant,
    NONE: users::renewal_extends_the_one_grant,
    NONE: users::users_close_only_their_own_grants,
    NONE: users::grants_end_with_their_user,
    NONE: users::knocks_from_elsewhere_are_refused,
    NONE: roster::removed_roster_user_loses_everything,
    NONE: roster::stale_roster_admits_no_user,
    NONE: roster::bad_rosters_leave_grants_open,
    NONE: restart::grants_survive_a_restart,
    NONE: restart::restart_reuses_no_grant_number,
    IPTABLES: restart::on_stop_remove_restores_the_firewall,
    IPTABLES: restart::flush_restores_the_firewall,
    BOTH: restart::flush_leaves_no_table,
    BOTH: restart::flush_after_a_killed_start,
    IPTABLES: trial::unconfirmed_trial_restores_the_firewall,
    IPTABLES: trial::failed_trial_start_restores_the_firewall,
    NONE: crashes::random_kills_first_run,
    NONE: crashes::random_kills_second_run,
    NONE: crashes::random_kills_third_run,
    NONE: crashes::random_kills_fourth_run,
    NONE: storm::reloads_and_kills_end_in_one_engine,
    BOTH: flushed::knock_into_flushed_firewall_is_reported_correctly,
    NONE: flushed::unchanged_firewall_is_left_alone,
    NAT: why_not::other_address_of_hairpin_is_named,
];

const NFTABLES: &[postern_harness::world::Test] =
    postern_harness::table![SYSCTL: behind::early_and_late_drops_of_the_host_are_opened];

/// Tests of what is the same with any firewall.
const ONCE: &[postern_harness::world::Test] = postern_harness::table![
    FWKNOPD: fwknop_profiles::fwknopd_accepts_all_types,
    SETPRIV: knock_port::low_knock_port_is_bound_and_rebound,
    NONE: privileges::both_processes_have_the_programs_name,
    ROOT: privileges::keys_are_in_no_command_line_or_log,
    ROOT: wiped::config_keys_are_wiped_from_memory,
    ROOT: roster::roster_keys_are_wiped_from_memory,
    MOUNT: connect::connect_uses_the_family_that_opened,
    NONE: silence::gate_with_udp_socket_sends_no_frame,
    SYSCTL: behind::client_connects_to_inner_host,
    NONE: spoofed::spoofed_source_opens_claimed_address,
    NONE: users::client_waits_for_the_open_port,
    KNOCK: sequences::wrong_sequence_opens_nothing,
    KNOCK: sequence_load::each_knock_of_knockd_opens,
    NONE: sequence_load::doubled_syns_break_nothing,
    KNOCK: sequences::client_sends_sequences,
    KNOCK: sequences::explain_live_names_each_hit,
    KNOCK: sequences::one_time_sequences_open_in_order,
    KNOCK: sequences::book_sequence_and_single_syn_open,
    RSYSLOG: log_lines::lines_of_a_rotated_file_open,
    JOURNAL: log_lines::lines_of_the_journal_open,
    IPTABLES: restart::rules_of_the_other_driver_are_removed,
    NONE: restart::replay_after_restart_is_refused,
    NONE: trial::knock_confirms_the_trial,
    NONE: trial::confirm_keeps_the_rules,
    PEER: peer::peer_opens_with_every_kind_of_key,
    STUN: stun::knock_opens_for_the_outer_address,
    ROUTER: networks::translated_client_opens_without_an_option,
    ROUTER: networks::routed_client_claims_as_its_policy_says,
    ROUTER: networks::both_addresses_open_with_two_knocks,
    NAT64: networks::client_behind_nat64_opens,
    NONE: networks::new_address_is_let_in_at_once,
    NONE: explain::explain_live_beside_the_gate,
    NONE: why_not::wrong_clocks_are_named,
    NONE: why_not::slightly_wrong_clock_is_logged_once,
    PYTHON: why_not::busy_nflog_group_is_left_alone,
    NONE: status::status_counts_kernel_drops,
    TUN: links::knock_from_a_tunnel_opens,
    NONE: links::late_interface_is_captured,
    NONE: links::altname_is_captured,
    NONE: links::renamed_interface_is_still_captured,
    CC: clocks::gate_heals_when_the_clock_is_set,
    NFT: lossy::commands_open_despite_loss,
    NFT: lossy::most_knocks_open_when_most_are_lost,
    NONE: lossy::repeats_extend_one_grant_and_are_charged,
    NONE: lossy::dead_address_costs_little,
    NONE: lossy::knocks_pass_a_small_mtu,
    MOUNT: resolvers::no_resolver_delays_a_live_address,
    PYTHON: codes::one_time_code_opens_once,
    PYTHON: codes::wrong_codes_are_throttled,
    NONE: command::command_opens_and_closes,
    NONE: command::failed_command_refuses_the_knock,
    NONE: command::command_closes_after_a_kill,
    NONE: command::failed_close_command_is_retried,
    NONE: command::damaged_journal_stops_the_start,
    IPSET: command::ipset_example_opens_a_real_set,
    NONE: command::pf_example_loads_each_change,
    NONE: hooks::hooks_run_at_opening_and_end,
    NONE: hooks::hanging_hook_delays_nothing,
    NONE: hooks::on_close_runs_after_a_kill,
    FAKE: broken::failed_opening_leaves_nothing_open,
    FAKE: broken::failed_closing_is_retried,
    FAKE: broken::opening_by_an_orphan_is_closed,
    FAKE: broken::failed_renewal_keeps_the_old_end,
    FAKE: broken::half_done_reload_stays_hidden,
    NONE: enrolment::enrolled_key_pair_opens,
    NONE: enrolment::disabled_user_loses_open_grants,
    NONE: reload::reload_loses_no_knock,
    NONE: reload::reload_with_udp_socket_loses_no_knock,
    NONE: reload::broken_config_changes_nothing,
    NONE: reload::reload_applies_the_new_config,
    ROOT: prefilter::hint_filter_drops_and_counts_junk,
    ROOT: prefilter::replays_die_in_the_kernel,
    ROOT: prefilter::hint_filter_reload_loses_no_knock,
    ROOT: prefilter::hint_filter_passes_the_next_step,
    SETPRIV: prefilter::gate_works_without_the_hint_filter,
];
