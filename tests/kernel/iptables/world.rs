//! Network namespaces for the iptables tests: a gate with a driver, joined to a peer by a veth pair.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use postern::adapters::firewall::iptables::Iptables;
use postern::adapters::firewall::{Change, FirewallDriver};
use postern::adapters::process::Programs;
use postern::model::grant::Grant;
use postern::model::run::{Call, Ran, Run, RunError};
use postern::model::settings::Protection;
use postern_harness::firewall::iptables_paths;
use postern_harness::{Namespace, gate_and_client, now};

use crate::inputs;

/// What posternd gives a program.
const DEADLINE: Duration = Duration::from_secs(5);

/// Runs programs inside a namespace, and counts them.
struct Inside {
    space: Arc<Namespace>,
    count: Arc<AtomicUsize>,
}

impl Run for Inside {
    fn run(&mut self, call: &Call<'_>) -> Result<Ran, RunError> {
        self.count.fetch_add(1, Ordering::Relaxed);
        let (program, stdin, most) = (call.program.to_owned(), call.stdin.to_vec(), call.most);
        let args: Vec<String> = call.args.iter().map(|arg| (*arg).to_owned()).collect();
        self.space.run(move || {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            Programs::with_deadline(DEADLINE).run(&Call {
                program: &program,
                args: &args,
                stdin: &stdin,
                most,
            })
        })
    }
}

/// A gate with a driver, joined to a peer.
pub(crate) struct World {
    pub(crate) driver: Iptables,
    pub(crate) gate: Arc<Namespace>,
    pub(crate) peer: Namespace,
    variant: &'static str,
    count: Arc<AtomicUsize>,
}

impl World {
    pub(crate) fn new(variant: &'static str) -> Self {
        let (gate, peer) = gate_and_client();
        let (gate, count) = (Arc::new(gate), Arc::default());
        Self {
            driver: driver(variant, &gate, &count),
            gate,
            peer,
            variant,
            count,
        }
    }

    /// With grants of single ports in sets, as in posternd.
    pub(crate) fn with_live_table(variant: &'static str) -> Self {
        let world = Self::new(variant);
        let driver = world.another_driver();
        let driver = world.gate.run(move || driver.with_live_table());
        Self { driver, ..world }
    }

    /// Another driver of the same firewall.
    pub(crate) fn another_driver(&self) -> Iptables {
        driver(self.variant, &self.gate, &self.count)
    }

    /// How many programs the driver has run.
    pub(crate) fn runs(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Rules of both families, without the lines that tell the time.
    pub(crate) fn rules(&self) -> String {
        let v = self.variant;
        self.gate.sh(&format!("for f in iptables ip6tables; do $f-{v}-save -t filter | grep -v '^#' | sed 's/\\[.*\\]//'; done"))
    }

    pub(crate) fn apply(&mut self, changes: &[Change]) {
        for (change, result) in changes.iter().zip(self.driver.apply(changes)) {
            assert_eq!(result, Ok(()), "{change:?}");
        }
    }

    pub(crate) fn listed(&mut self) -> BTreeSet<String> {
        self.driver
            .list()
            .unwrap()
            .iter()
            .map(|grant| format!("{grant} until {}", grant.until.as_millis()))
            .collect()
    }

    pub(crate) fn listen(&self, address: &str) -> TcpListener {
        let address = address.to_owned();
        self.gate.run(move || TcpListener::bind(address).unwrap())
    }

    pub(crate) fn connects(&self, address: &str) -> bool {
        self.connect(address).is_some()
    }

    /// From the address of the grants.
    pub(crate) fn connect(&self, address: &str) -> Option<TcpStream> {
        let to: SocketAddr = address.parse().unwrap();
        self.peer
            .connect(own_address(to), &to.ip().to_string(), to.port())
    }
}

fn driver(variant: &str, gate: &Arc<Namespace>, count: &Arc<AtomicUsize>) -> Iptables {
    let (space, count) = (Arc::clone(gate), Arc::clone(count));
    Iptables::new(Box::new(Inside { space, count }), iptables_paths(variant))
}

fn own_address(to: SocketAddr) -> &'static str {
    if to.is_ipv4() {
        "192.0.2.7"
    } else {
        "2001:db8::7"
    }
}

pub(crate) fn grant(id: u64, allow: &str, services: &[&str], length: Duration) -> Grant {
    Grant {
        user: "alice@example.org".to_owned(),
        ..inputs::grant(id, allow, services, now().plus(length))
    }
}

pub(crate) fn protection(services: &[&str]) -> Protection {
    let behind = [("10.0.0.0/24", "tcp/443"), ("2001:db8:1::/64", "tcp/443")];
    inputs::protection(services, &behind)
}
