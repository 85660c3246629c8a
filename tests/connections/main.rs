//! Connections of the real kernel, as the monitor's executor takes them over and ends them, under both firewall drivers. Each test
//! has network namespaces of its own.
//!
//! Owns the gate that all of them set up. Needs root; changes nothing of the host.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    unreachable_pub,
    missing_docs
)]

mod adopting;
mod ending;
mod entries;
mod executor;
#[allow(dead_code, reason = "the tests of nftables use more of it")]
#[path = "../nftables/space.rs"]
mod space;

use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use libtest_mimic::Arguments;
use postern::adapters::config;
use postern::adapters::config::bundle::{Bundle, BundleFile};
use postern::adapters::conntrack::Conntrack;
use postern::adapters::conntrack::kernel::KernelConntrack;
use postern::core::order::{Order, Report};
use postern::daemon::monitor;
use postern::daemon::monitor::executor::Executor;
use postern::model::request::{AddressFrom, OpenRequest};
use postern::model::settings::{DriverKind, Settings};
use postern::model::time::Timestamp;

use postern_harness::{Machine, Requirement, trials};
use space::Space;

pub const DRIVERS: [DriverKind; 2] = [DriverKind::Iptables, DriverKind::Nftables];
/// The gate's address and the client's, a family each.
pub const V4: [&str; 2] = ["192.0.2.1", "192.0.2.7"];
pub const V6: [&str; 2] = ["2001:db8::1", "2001:db8::7"];
pub const HOUR: Duration = Duration::from_secs(3600);

fn main() -> ExitCode {
    let machine = Machine::inspect();
    let trials = trials![
        machine, &[Requirement::Root, Requirement::Program("ip"), Requirement::Program("iptables-restore"), Requirement::Program("ip6tables-restore")];
        adopting::connections_older_than_connection_tracking_outlive_the_first_installation,
        adopting::without_adoption_an_old_connection_is_cut,
        adopting::an_adopted_connection_ends_with_a_grant_as_any_other,
        adopting::adoption_takes_each_connection_of_a_protected_port_once_and_no_other,
        adopting::a_stray_segment_draws_no_reset_where_the_listener_is_bound_to_one_address,
        adopting::a_reload_that_protects_more_ports_adopts_their_connections_first,
        executor::connections_of_a_batch_of_grants_are_ended_in_one_call_whoever_ended_them,
        executor::a_grant_that_did_not_ask_or_did_not_close_ends_nothing,
        executor::connections_that_another_users_grant_covers_stay,
        executor::a_kernel_that_ends_no_connections_keeps_no_door_open_and_no_gate_from_starting,
        executor::protected_ports_are_adopted_at_the_start_and_again_only_where_they_change,
        executor::grants_that_the_last_run_left_behind_and_that_are_over_take_their_connections_along,
        ending::a_connection_ends_with_its_grant_however_that_ends_where_the_user_asks_for_it_and_else_lives_on,
        ending::a_gate_that_goes_on_sending_does_not_revive_what_has_ended,
        ending::where_a_service_asks_for_it_only_its_connections_end,
        ending::what_another_live_grant_covers_lives_on,
        ending::a_listener_outlives_the_end_of_connections_whose_sockets_are_gone_already,
        entries::flows_of_udp_and_pings_end_with_their_grant_and_those_of_other_ports_and_sources_do_not,
        entries::a_grant_to_a_host_behind_the_gate_takes_the_entries_to_that_host_along_and_one_to_the_gate_none_that_pass_through,
        entries::five_thousand_grants_end_with_one_look_at_a_table_of_thousands,
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Alice and bob may open all that the tests need; these lines are added to the service `web` and to alice.
pub fn settings(web: &str, alice: &str) -> Settings {
    let services = "max_prefix = { v4 = 28, v6 = 64 }\nservices = [\"tcp/22\", \"web\", \"udp/5000-5999\", \"icmp\"]\ntargets = [\"10.0.0.0/24\"]";
    let user = |name: &str, key: char| {
        format!(
            "[[user]]\nname = \"{name}\"\nkey = \"{}=\"\n{services}\n",
            String::from(key).repeat(43)
        )
    };
    let text = format!(
        "[gate]\nname = \"g\"\n[service.web]\nports = [\"tcp/80\"]\n{web}\n{}{}{alice}\n",
        user("bob", 'A'),
        user("alice", 'E'),
    );
    read(text)
}

pub fn read(text: String) -> Settings {
    let main = Some(BundleFile {
        path: "posternd.toml".into(),
        text: text.into(),
    });
    config::load(&Bundle {
        main,
        ..Bundle::default()
    })
    .unwrap()
    .settings
}

pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap())
}

pub fn request(user: &str, allow: &str, services: &[&str]) -> OpenRequest {
    OpenRequest {
        user: user.to_owned(),
        allow: allow.parse().unwrap(),
        from: AddressFrom::Claimed,
        target: None,
        services: services.iter().map(|text| text.parse().unwrap()).collect(),
        duration: Duration::from_secs(600),
    }
}

/// An address as a network.
pub fn only(address: &str) -> String {
    format!("{address}/{}", if address.contains(':') { 128 } else { 32 })
}

/// A gate with a executor, and a client beside it.
pub struct World {
    pub gate: Space,
    pub client: Space,
    executor: Arc<Mutex<Option<Executor>>>,
}

impl World {
    pub fn with_a_client() -> Self {
        let (gate, client) = (Space::new(), Space::new());
        gate.link(
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
        Self {
            gate,
            client,
            executor: Arc::default(),
        }
    }

    /// What the monitor does when it starts.
    pub fn start(&self, driver: DriverKind, settings: Settings) {
        self.start_with(driver, settings, true);
    }

    pub fn start_with(&self, driver: DriverKind, settings: Settings, with_connections: bool) {
        let place = Arc::clone(&self.executor);
        self.gate.run(move || {
            let kernel = || -> Box<dyn Conntrack> { Box::new(KernelConntrack::open().unwrap()) };
            let backend = monitor::native(driver).unwrap();
            let executor =
                Executor::open(&settings, backend, with_connections.then(kernel), now()).unwrap();
            *place.lock().unwrap() = Some(executor);
        });
    }

    /// Drives the executor inside the gate's namespace.
    pub fn executor<R: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Executor) -> R + Send + 'static,
    ) -> R {
        let place = Arc::clone(&self.executor);
        self.gate
            .run(move || act(place.lock().unwrap().as_mut().unwrap()))
    }

    pub fn open(&self, request: OpenRequest) {
        let reports = self
            .executor(|executor| executor.serve(now(), vec![Order::Open { ticket: 1, request }]));
        assert!(
            matches!(reports.as_slice(), [Report::Opened { .. }]),
            "{reports:?}"
        );
    }

    /// A connection where there must be one: under load it may take more than one attempt.
    pub fn connect(&self, from: &str, to: &str, port: u16) -> TcpStream {
        let mut attempts = (0..20).filter_map(|_| self.client.connect(from, to, port));
        attempts
            .next()
            .unwrap_or_else(|| panic!("no connection from {from} to {to} port {port}"))
    }

    /// Connection tracking's entries that have this in their line.
    pub fn entries(&self, with: &str) -> Vec<String> {
        let table = self.gate.sh("cat /proc/net/nf_conntrack");
        table
            .lines()
            .filter(|line| line.contains(with))
            .map(str::to_owned)
            .collect()
    }
}
