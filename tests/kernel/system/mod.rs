//! What the daemon does for its host: journal, systemd, metrics, its unit and its package.
//!
//! Needs root, and changes nothing of the host's.

use libtest_mimic::Trial;

mod boot;
mod booted;
mod container;
mod metrics;
mod package;
mod systemd;
mod unit;

use postern_harness::Machine;
use postern_harness::Requirement::{self, MetricsParser, Other, Program, Root};

const BASE: &[Requirement] = &[Root, Program("ip"), Program("unshare"), Program("mount")];

const DRIVER: &str = "auto";

pub(crate) fn tests(machine: &Machine) -> Vec<Trial> {
    let systemd = Other("a place to start systemd in", booted::is_possible());
    let packaging = Other("cargo-deb or cargo-cyclonedx", package::can_be_made());
    let deb = [packaging, Program("dpkg-deb")];
    let installed = [packaging, systemd, Program("dpkg"), Program("man")];
    let drivers = [Program("iptables-restore"), Program("nft")];
    let mut trials = Vec::new();
    let mut add = |name: &str, needs: &[Requirement], test: fn()| {
        trials.push(machine.trial(name, &[BASE, needs].concat(), test));
    };
    macro_rules! add {
        ($needs:expr; $($module:ident::$name:ident),* $(,)?) => {
            $(add(concat!(stringify!($module), "::", stringify!($name)), $needs, $module::$name);)*
        };
    }
    add!(&[];
        metrics::metrics_address_in_use_is_one_error,
        unit::engine_gets_its_state_back,
        unit::reload_refuses_missing_engine_user,
        container::gate_runs_as_first_process,
        package::removal_names_saved_rules,
        systemd::systemd_is_notified_of_start_reload_stop,
        systemd::failed_engine_is_never_ready,
        systemd::missing_journal_leaves_standard_error,
        systemd::missing_notify_socket_hinders_nothing,
        systemd::watchdog_is_notified_without_an_engine,
    );
    add!(&[MetricsParser];
        metrics::metrics_file_is_complete_and_removed,
        metrics::metrics_over_http_survive_reloads,
        metrics::hostile_readers_delay_no_knock,
    );
    add!(&[Program("systemd-analyze")]; unit::unit_is_rated_below_3);
    add!(&[systemd, drivers[1]];
        unit::systemd_restarts_after_kill_and_hang,
        unit::hooks_work_in_units_of_their_own,
        unit::drop_in_of_the_page_frees_hooks,
        unit::unit_reads_the_journal,
        boot::removed_protection_stays_removed_at_boot,
    );
    add!(&deb; package::package_holds_every_file, package::bill_of_materials_names_every_crate);
    add!(&[packaging, Program("lintian")]; package::package_has_no_lintian_error);
    add!(&installed;
        package::package_is_set_up_in_few_commands,
        package::package_installs_serves_and_is_removed,
    );
    for (driver, program) in ["iptables", "nftables"].into_iter().zip(drivers) {
        let name = format!("unit::unit_works_under_systemd::{driver}");
        let needs = [BASE, &[systemd, program]].concat();
        trials.push(machine.trial(name, &needs, move || unit::unit_works_under_systemd(driver)));
        let name = format!("boot::broken_config_at_boot_hides::{driver}");
        let test = move || boot::broken_config_at_boot_hides(driver);
        trials.push(machine.trial(name, &[&needs, drivers.as_slice()].concat(), test));
    }
    trials
}
