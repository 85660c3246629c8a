//! The nftables driver against the real kernel, each test in network namespaces of its own, with the program `nft` as a second opinion.
//!
//! Owns the gate that all of them set up. Needs root, and changes nothing of the host; without root
//! or `nft` the tests are ignored.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    unreachable_pub,
    missing_docs
)]

mod forward;
mod grants;
mod holders;
mod repair;
mod scale;
mod space;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libtest_mimic::Arguments;
use postern::adapters::conntrack::Conntrack;
use postern::adapters::conntrack::kernel::KernelConntrack;
use postern::adapters::firewall::nftables::Nftables;
use postern::adapters::firewall::{Change, FirewallDriver, FirewallError};
use postern::model::grant::{Grant, GrantId};
use postern::model::service::Ports;
use postern::model::settings::Protection;
use postern::model::time::Timestamp;

use postern_harness::{Machine, Requirement, trials};
use space::Space;

/// When all tests play; only differences reach the kernel.
pub const NOW: Timestamp = Timestamp::from_millis(1_795_341_600_000);

pub const KNOCK_PORT: u16 = 62201;

fn main() -> ExitCode {
    let machine = Machine::inspect();
    let trials = trials![
        machine, &[Requirement::Root, Requirement::Program("ip"), Requirement::Program("nft")];
        forward::a_host_behind_the_gate_opens_for_one_address_and_its_neighbours_stay_closed,
        forward::a_grant_for_a_host_behind_the_gate_does_not_open_the_gate_itself,
        grants::a_protected_port_opens_for_the_address_of_a_grant_and_for_no_other_in_both_families,
        grants::the_kernel_ends_a_grant_on_time_when_the_driver_is_gone,
        grants::a_grant_whose_end_has_passed_is_never_left_without_an_end,
        grants::an_established_connection_survives_the_first_install_and_the_end_of_its_grant,
        grants::networks_and_port_ranges_open_what_they_span_also_where_they_overlap,
        grants::protected_icmp_closes_the_echo_request_alone_and_opens_with_a_grant,
        grants::a_knock_draws_no_answer_while_other_closed_ports_do,
        grants::the_firewall_is_its_own_record_and_nft_shows_who_and_until_when,
        grants::what_nft_lists_it_can_load_again,
        grants::a_stranger_gets_no_answer_to_a_segment_that_belongs_to_no_connection,
        holders::two_grants_share_an_element_until_the_later_ends_whichever_is_closed_first,
        holders::extending_a_grant_moves_its_end_in_the_kernel,
        holders::closing_what_the_kernel_has_already_ended_is_done_and_spoils_nothing_beside_it,
        holders::a_grant_can_be_extended_after_the_kernel_has_ended_it,
        holders::one_change_that_fails_leaves_the_others_of_its_batch_done_and_nothing_half_open,
        repair::a_table_deleted_behind_our_back_is_put_back_with_the_next_change,
        repair::a_flushed_set_and_an_element_of_somebody_else_do_not_make_a_change_fail,
        repair::install_repairs_everything_and_opens_the_given_grants_and_no_others,
        repair::remove_leaves_the_ruleset_as_it_was_and_is_done_when_there_is_nothing,
        repair::an_entry_of_the_record_that_is_not_readable_is_an_error_and_never_left_out,
        repair::whatever_others_change_in_the_table_is_seen,
        repair::without_the_capability_the_error_names_it,
        scale::ten_thousand_grants_are_installed_listed_and_closed,
        scale::a_full_set_refuses_the_next_grant_and_says_so_and_the_others_stay,
        scale::ten_thousand_grants_opened_in_batches_are_all_there_and_survive_a_lost_table,
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// A namespace with the driver at work in it.
#[derive(Clone)]
pub struct Gate {
    pub space: Arc<Space>,
    driver: Arc<Mutex<Option<Nftables>>>,
}

impl Gate {
    pub fn plain() -> Self {
        let space = Arc::new(Space::new());
        let mut driver = space.run(|| Nftables::open().unwrap());
        driver.tick(NOW);
        Self {
            space,
            driver: Arc::new(Mutex::new(Some(driver))),
        }
    }

    /// The driver is used from another thread and namespace here, as its socket keeps the one it was made in.
    pub fn driver<R>(&self, act: impl FnOnce(&mut Nftables) -> R) -> R {
        act(self.driver.lock().unwrap().as_mut().unwrap())
    }

    /// What the kernel does alone from here on.
    pub fn kill_driver(&self) {
        *self.driver.lock().unwrap() = None;
    }

    /// What the monitor does before the first installation.
    pub fn adopt(&self, services: &[&str]) -> usize {
        let ports: Vec<Ports> = services.iter().map(|text| text.parse().unwrap()).collect();
        self.space
            .run(move || KernelConntrack::open().unwrap().adopt(&ports).unwrap())
    }

    pub fn install(&self, services: &[&str], live: &[Grant]) {
        self.driver(|driver| driver.install(&protection(services), live))
            .unwrap();
    }

    pub fn apply(&self, change: Change) -> Result<(), FirewallError> {
        let mut results = self.driver(|driver| driver.apply(&[change]));
        assert_eq!(results.len(), 1);
        results.remove(0)
    }

    pub fn open(&self, grant: &Grant) {
        self.apply(Change::Open(grant.clone())).unwrap();
    }

    pub fn close(&self, grant: &Grant) {
        self.apply(Change::Close(grant.clone())).unwrap();
    }

    /// As it is written beside the elements: these stories' time stands still, while the kernel's goes on.
    pub fn list(&self) -> Vec<Grant> {
        self.driver(|driver| {
            driver.tick(Timestamp::default());
            let grants = driver.list();
            driver.tick(NOW);
            grants
        })
        .unwrap()
    }

    pub fn nft(&self, line: &str) -> String {
        self.space.sh(&format!("nft {line}"))
    }

    /// Elements of a set as `nft` counts them.
    pub fn elements(&self, set: &str) -> usize {
        let text = self.nft(&format!("-j list set inet postern {set}"));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        value["nftables"][1]["set"]["elem"]
            .as_array()
            .map_or(0, Vec::len)
    }
}

pub fn protection(services: &[&str]) -> Protection {
    Protection {
        services: services.iter().map(|text| text.parse().unwrap()).collect(),
        knock_ports: vec![KNOCK_PORT],
        silence_knocks: true,
        ..Protection::default()
    }
}

/// A grant of alice for a minute.
pub fn grant(id: u64, allow: &str, services: &[&str]) -> Grant {
    Grant {
        id: GrantId(id),
        user: "alice".to_owned(),
        allow: allow.parse().unwrap(),
        target: None,
        services: services.iter().map(|text| text.parse().unwrap()).collect(),
        forwards: Vec::new(),
        until: NOW.plus(Duration::from_secs(60)),
    }
}

pub fn lasting(mut grant: Grant, millis: u64) -> Grant {
    grant.until = NOW.plus(Duration::from_millis(millis));
    grant
}

/// A gate with a client beside it: 192.0.2.1 and 2001:db8::1 here, .7 and .8 there, port 22 and others served.
pub fn gate_and_client() -> (Gate, Space) {
    let (gate, client) = (Gate::plain(), Space::new());
    gate.space.link(
        &client,
        "wire",
        &["192.0.2.1/24", "2001:db8::1/64"],
        &[
            "192.0.2.7/24",
            "192.0.2.8/24",
            "2001:db8::7/64",
            "2001:db8::8/64",
        ],
    );
    gate.space.serve(22);
    let linked = || {
        client.reaches("192.0.2.8", "192.0.2.1", 22)
            && client.reaches("2001:db8::8", "2001:db8::1", 22)
    };
    assert!(
        space::wait_until(linked, Duration::from_secs(10)).is_some(),
        "the link does not come up"
    );
    // the server ends its side of those trials in a thread of its own, and tests count what is connected
    let is_quiet = || {
        gate.space
            .sh("ss --no-header --tcp --numeric")
            .trim()
            .is_empty()
    };
    assert!(
        space::wait_until(is_quiet, Duration::from_secs(10)).is_some(),
        "the server does not end its side"
    );
    (gate, client)
}
