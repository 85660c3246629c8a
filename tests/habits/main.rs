//! What a daemon owes its host: a journal with fields, word to systemd, figures for a monitoring system, and to make do with
//! what its unit leaves it.
//!
//! A real posternd in the world of the gate's tests, which `tests/gate/main.rs` draws. Needs root, and changes nothing of the
//! host's; without root the tests are ignored.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

mod container;
mod journal;
mod machine;
mod metrics;
mod package;
mod systemd;
mod unit;

use postern_harness::{Machine, Requirement};

/// Mount namespaces, the engine's own user, and whatever firewall comes first.
const NEEDS: &[Requirement] = &[
    Requirement::Root,
    Requirement::Program("ip"),
    Requirement::Program("unshare"),
    Requirement::Program("mount"),
];

/// What the text is read with.
const PARSER: &[Requirement] = &[Requirement::MetricsParser];

/// A firewall driver that is there.
const BACKEND: &str = "auto";

type Test = (&'static str, &'static [Requirement], fn());

const TESTS: &[Test] = &[
    (
        "journal_has_the_entries_of_monitor_and_engine_with_their_fields",
        &[],
        journal::has_entries_with_fields,
    ),
    (
        "journal_that_is_not_there_leaves_lines_on_standard_error",
        &[],
        journal::is_not_there,
    ),
    (
        "metrics_over_the_control_socket_tell_what_happened",
        PARSER,
        metrics::over_the_control_socket,
    ),
    (
        "metrics_in_a_file_tell_what_happened_and_go_with_the_daemon",
        PARSER,
        metrics::in_a_file,
    ),
    (
        "metrics_over_http_tell_what_happened_and_outlive_reloads",
        PARSER,
        metrics::over_http,
    ),
    (
        "metrics_over_http_are_bounded_and_hold_up_no_knock",
        PARSER,
        metrics::hostile_readers,
    ),
    (
        "metrics_address_that_is_taken_is_said_in_one_line",
        &[],
        metrics::address_that_is_taken,
    ),
    (
        "unit_is_rated_below_3_by_systemd",
        &[Requirement::Program("systemd-analyze")],
        unit::is_tight,
    ),
    (
        "unit_leaves_posternd_the_rights_that_it_needs",
        &[
            Requirement::Program("setpriv"),
            Requirement::Program("iptables-restore"),
            Requirement::Program("nft"),
        ],
        unit::rights_suffice,
    ),
    (
        "state_that_was_given_to_root_is_given_back_to_the_engine_alone",
        &[],
        unit::state_is_given_back,
    ),
    (
        "first_process_of_a_container_lets_go_of_orphans_and_stops_when_told",
        &[],
        container::first_process,
    ),
    (
        "systemd_hears_of_start_reload_and_stop",
        &[],
        systemd::hears_of_start_reload_and_stop,
    ),
    (
        "systemd_is_not_told_ready_by_an_engine_that_cannot_begin",
        &[],
        systemd::is_not_told_ready_by_an_engine_that_cannot_begin,
    ),
    (
        "systemd_that_does_not_listen_is_said_once_and_hinders_nothing",
        &[],
        systemd::is_not_there,
    ),
    (
        "watchdog_is_fed_and_a_hung_engine_is_replaced",
        &[],
        systemd::hung_engine_is_replaced,
    ),
    (
        "watchdog_is_fed_while_a_wrong_config_keeps_the_engine_away",
        &[],
        systemd::without_an_engine_for_want_of_a_good_config_goes_on,
    ),
];

fn main() -> ExitCode {
    let machine = Machine::inspect();
    let trial = |(name, needs, test): &Test| machine.trial(*name, &[NEEDS, *needs].concat(), *test);
    let mut trials: Vec<Trial> = TESTS.iter().map(trial).collect();
    let systemd = Requirement::Other("a place to start systemd in", machine::can_be_had());
    let nft = Requirement::Program("nft");
    for (backend, program) in [
        ("iptables", Requirement::Program("iptables-restore")),
        ("nftables", nft),
    ] {
        let test = move || unit::works_under_systemd(backend);
        trials.push(machine.trial(
            format!("{backend}::unit_works_under_systemd_itself"),
            &[NEEDS, &[systemd, program]].concat(),
            test,
        ));
    }
    let test = unit::comes_back_under_systemd;
    trials.push(machine.trial(
        "unit_comes_back_after_a_kill_and_out_of_a_hang_but_not_to_a_wrong_config",
        &[NEEDS, &[systemd, nft]].concat(),
        test,
    ));
    let package = [
        Requirement::Other("cargo-deb or cargo-cyclonedx", package::can_be_made()),
        Requirement::Program("dpkg-deb"),
    ];
    let on_a_machine = [
        NEEDS,
        &package,
        &[
            systemd,
            Requirement::Program("dpkg"),
            Requirement::Program("man"),
        ],
    ]
    .concat();
    trials.push(machine.trial(
        "package_holds_everything_in_its_place",
        &package,
        package::holds_everything_in_its_place,
    ));
    trials.push(machine.trial(
        "package_names_every_crate_of_the_programs",
        &package,
        package::names_every_crate_of_the_programs,
    ));
    let lintian = [&package[..], &[Requirement::Program("lintian")]].concat();
    trials.push(machine.trial(
        "package_has_no_error_for_lintian",
        &lintian,
        package::has_no_error_for_lintian,
    ));
    trials.push(machine.trial(
        "package_is_set_up_in_a_few_commands",
        &on_a_machine,
        package::is_set_up_in_a_few_commands,
    ));
    trials.push(machine.trial(
        "package_installs_serves_and_goes_with_all_it_did",
        &on_a_machine,
        package::installs_serves_and_goes,
    ));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
