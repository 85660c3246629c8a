//! The nftables driver on the real kernel, with `nft` as a second opinion. Needs root.
//!
//! Each test has network namespaces of its own: a gate with the driver, and usually a client beside it.

mod elements;
mod grants;
mod repair;
mod scale;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use libtest_mimic::Trial;
use postern::adapters::firewall::nftables::Nftables;
use postern::adapters::firewall::{Change, FirewallDriver, FirewallError};
use postern::model::grant::Grant;
use postern::model::settings::Protection;
use postern::model::time::Timestamp;
use postern_harness::{Machine, Namespace, Requirement, trials, wait_until};

use crate::inputs;

/// The driver's time. Only differences reach the kernel.
const NOW: Timestamp = Timestamp::from_millis(1_795_341_600_000);

pub(crate) fn tests(machine: &Machine) -> Vec<Trial> {
    let requirements = [
        Requirement::Root,
        Requirement::Program("ip"),
        Requirement::Program("nft"),
    ];
    trials![
        machine, &requirements;
        elements::shared_element_lasts_until_the_later_end,
        elements::closing_an_expired_grant_is_done,
        elements::expired_grant_can_be_extended,
        elements::failed_change_leaves_the_others_done,
        grants::kernel_ends_grants_without_the_driver,
        grants::overlapping_ranges_open_what_they_span,
        grants::icmp_protection_closes_echo_requests_only,
        grants::record_is_read_back_and_shown_by_nft,
        grants::nft_can_load_what_it_lists,
        repair::deleted_table_is_installed_again,
        repair::foreign_changes_do_not_fail_a_change,
        repair::install_repairs_everything,
        repair::unreadable_record_is_no_grant,
        repair::verify_sees_every_foreign_change,
        repair::missing_capability_is_named,
        scale::many_grants_open_in_batches_and_close,
        scale::full_set_refuses_the_next_grant,
    ]
}

/// A namespace with a driver.
struct Gate {
    host: Namespace,
    driver: Arc<Mutex<Nftables>>,
}

impl Gate {
    fn new(host: Namespace) -> Self {
        let mut driver = host.run(|| Nftables::open().unwrap());
        driver.tick(NOW);
        let driver = Arc::new(Mutex::new(driver));
        Self { host, driver }
    }

    /// A gate without a client.
    fn alone() -> Self {
        Self::new(Namespace::new())
    }

    /// The driver works in its namespace from any thread, because its socket does.
    fn driver<R>(&self, call: impl FnOnce(&mut Nftables) -> R) -> R {
        call(&mut self.driver.lock().unwrap())
    }

    fn install(&self, services: &[&str], live: &[Grant]) {
        self.driver(|driver| driver.install(&protection(services), live))
            .unwrap();
    }

    fn apply(&self, change: Change) -> Result<(), FirewallError> {
        self.driver(|driver| driver.apply(&[change])).remove(0)
    }

    /// Applies changes that must all succeed.
    fn apply_all(&self, changes: &[Change]) {
        let results = self.driver(|driver| driver.apply(changes));
        assert_eq!(results, vec![Ok(()); changes.len()]);
    }

    fn open(&self, grant: &Grant) {
        self.apply(Change::Open(grant.clone())).unwrap();
    }

    fn close(&self, grant: &Grant) {
        self.apply(Change::Close(grant.clone())).unwrap();
    }

    fn extend(&self, old: &Grant, millis: u64) -> Grant {
        let (old, new) = (old.clone(), lasting(old.clone(), millis));
        self.apply(Change::Extend {
            old,
            new: new.clone(),
        })
        .unwrap();
        new
    }

    /// The grants with their recorded ends: the driver's clock stops, the kernel's does not.
    fn list(&self) -> Vec<Grant> {
        self.driver(|driver| {
            driver.tick(Timestamp::default());
            let grants = driver.list();
            driver.tick(NOW);
            grants
        })
        .unwrap()
    }

    fn nft(&self, line: &str) -> String {
        self.host.sh(&format!("nft {line}"))
    }

    /// The elements of a set as `nft` lists them.
    fn listed(&self, set: &str) -> Vec<serde_json::Value> {
        let text = self.nft(&format!("-j list set inet postern {set}"));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let elements = value["nftables"][1]["set"]["elem"].as_array();
        elements.cloned().unwrap_or_default()
    }

    /// The number of elements in these sets.
    fn count(&self, sets: &[&str]) -> usize {
        sets.iter().map(|set| self.listed(set).len()).sum()
    }

    fn wait_for_count(&self, sets: &[&str], count: usize) {
        wait_until("end of the elements", || self.count(sets) == count);
    }
}

/// A grant of alice for a minute.
fn grant(id: u64, allow: &str, services: &[&str]) -> Grant {
    inputs::grant(id, allow, services, NOW.plus(Duration::from_secs(60)))
}

fn protection(services: &[&str]) -> Protection {
    Protection {
        hide_behind: false,
        ..inputs::protection(services, &[])
    }
}

fn lasting(mut grant: Grant, millis: u64) -> Grant {
    grant.until = NOW.plus(Duration::from_millis(millis));
    grant
}

/// A gate that serves port 22, and a client at .7 and .8.
fn gate_and_client() -> (Gate, Namespace) {
    let (host, client) = postern_harness::gate_and_client();
    host.serve_echo(22);
    wait_until("connection", || {
        client.reaches("192.0.2.8", "192.0.2.1", 22)
            && client.reaches("2001:db8::8", "2001:db8::1", 22)
    });
    (Gate::new(host), client)
}
