//! Connections of the real kernel: the monitor's executor adopts and ends them, under both firewall drivers. Needs root.
//!
//! Each test has network namespaces of its own: a gate with an executor, and a client beside it.

mod adopting;
mod ending;
mod entries;
mod executor;

use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libtest_mimic::Trial;
use postern::adapters::conntrack::Conntrack;
use postern::adapters::conntrack::kernel::KernelConntrack;
use postern::core::order::{Order, Report, Selection};
use postern::daemon::monitor::executor::Executor;
use postern::model::request::OpenRequest;
use postern::model::settings::Settings;
use postern_harness::world::checks::native;
use postern_harness::{Machine, Namespace, Requirement, gate_and_client, now, trials, trials_by};

use crate::inputs::{self, request};

/// The addresses of the gate and of the client, for each family.
const V4: [&str; 2] = ["192.0.2.1", "192.0.2.7"];
const V6: [&str; 2] = ["2001:db8::1", "2001:db8::7"];
/// The same client as networks.
const CLIENT_V4: &str = "192.0.2.7/32";
const CLIENT_V6: &str = "2001:db8::7/128";
const HOUR: Duration = Duration::from_secs(3600);
/// The option of a user or a service whose connections end with the grant.
const ENDS: &str = "end_connections = true";

pub(crate) fn tests(machine: &Machine) -> Vec<Trial> {
    let requirements = ["ip", "nft", "iptables-restore", "ip6tables-restore"];
    let mut requirements = requirements.map(Requirement::Program).to_vec();
    requirements.push(Requirement::Root);
    let mut trials = trials![
        machine, &requirements;
        adopting::adoption_takes_each_connection_once,
        adopting::reload_adopts_connections_of_new_ports,
        executor::batch_of_grants_ends_in_one_call,
        executor::only_closed_grants_end_connections,
        executor::failing_conntrack_keeps_no_grant_open,
        executor::ports_are_adopted_again_only_if_they_change,
        executor::grants_of_the_last_run_end_connections,
        entries::thousands_of_grants_end_with_one_dump,
    ];
    trials.extend(trials_by![
        machine, &requirements, ["iptables", "nftables"];
        adopting::old_connections_survive_only_with_adoption,
        adopting::stray_segment_draws_no_reset_from_a_bound_listener,
        ending::connections_end_with_their_grant_on_request,
        ending::sending_gate_does_not_revive_a_connection,
        ending::service_option_ends_its_connections_only,
        ending::connection_of_another_live_grant_stays,
        ending::listener_survives_the_end_of_closed_connections,
        entries::udp_flows_and_pings_end_with_their_grant,
        entries::entries_through_the_gate_end_with_their_own_grant,
    ]);
    trials
}

/// Settings in which alice and bob may open everything that the tests need. The lines are added to the service `web`
/// and to alice.
fn settings(web: &str, alice: &str) -> Settings {
    let user = |name: &str, key: &str| {
        format!(
            "[[user]]\nname = \"{name}\"\nkey = \"{}=\"\nmax_prefix = {{ v4 = 28, v6 = 64 }}\n\
             services = [\"tcp/22\", \"web\", \"udp/5000-5999\", \"icmp\"]\ntargets = [\"10.0.0.0/24\"]\n",
            key.repeat(43)
        )
    };
    let (bob, with_alice) = (user("bob", "A"), user("alice", "E"));
    inputs::settings(format!(
        "[gate]\nname = \"g\"\n[service.web]\nports = [\"tcp/80\"]\n{web}\n{bob}{with_alice}{alice}\n"
    ))
}

/// Settings in which bob alone may open these ports.
fn only_bob(service: &str) -> Settings {
    let key = "A".repeat(43);
    inputs::settings(format!(
        "[gate]\nname = \"g\"\n[[user]]\nname = \"bob\"\nkey = \"{key}=\"\nservices = [\"{service}\"]"
    ))
}

/// The order to end all grants of a user, or all.
fn end(user: Option<&str>) -> Order {
    let which = user.map_or(Selection::All, |user| Selection::User(user.to_owned()));
    Order::End { ticket: 2, which }
}

/// A gate with an executor, and a client beside it.
struct World {
    gate: Namespace,
    client: Namespace,
    executor: Arc<Mutex<Option<Executor>>>,
}

impl World {
    fn new() -> Self {
        let (gate, client) = gate_and_client();
        Self {
            gate,
            client,
            executor: Arc::default(),
        }
    }

    /// A gate that serves these ports and has started.
    fn started(driver: &'static str, settings: Settings, ports: &[u16]) -> Self {
        let world = Self::new();
        ports.iter().for_each(|port| world.gate.serve_echo(*port));
        world.start(driver, settings);
        world
    }

    /// Starts the executor as the monitor does.
    fn start(&self, driver: &'static str, settings: Settings) {
        let place = Arc::clone(&self.executor);
        self.gate.run(move || {
            let conntrack: Box<dyn Conntrack> = Box::new(KernelConntrack::open().unwrap());
            let backend = native(driver);
            let executor = Executor::open(&settings, backend, Some(conntrack), now()).unwrap();
            *place.lock().unwrap() = Some(executor);
        });
    }

    /// Runs a call of the executor in the gate's namespace.
    fn executor<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Executor) -> R + Send + 'static,
    ) -> R {
        let place = Arc::clone(&self.executor);
        self.gate
            .run(move || call(place.lock().unwrap().as_mut().unwrap()))
    }

    fn serve(&self, orders: Vec<Order>) -> Vec<Report> {
        self.executor(|executor| executor.serve(now(), orders))
    }

    fn open(&self, request: OpenRequest) {
        let reports = self.serve(vec![Order::Open { ticket: 1, request }]);
        assert!(
            matches!(reports[..], [Report::Opened { .. }]),
            "{reports:?}"
        );
    }

    /// A connection that must succeed. On a busy machine it may take several attempts.
    fn connect(&self, [gate, client]: [&str; 2], port: u16) -> TcpStream {
        let mut attempts = (0..20).filter_map(|_| self.client.connect(client, gate, port));
        attempts
            .next()
            .unwrap_or_else(|| panic!("no connection to {gate} port {port}"))
    }

    /// The lines of the connection tracking table that contain this text.
    fn entries(&self, text: &str) -> Vec<String> {
        let table = self.gate.sh("cat /proc/net/nf_conntrack");
        let lines = table.lines().filter(|line| line.contains(text));
        lines.map(str::to_owned).collect()
    }
}
