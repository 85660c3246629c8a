//! Network namespaces for the iptables tests: a gate with a driver, joined to a peer by a veth pair.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use postern::adapters::conntrack::Conntrack;
use postern::adapters::conntrack::kernel::KernelConntrack;
use postern::adapters::firewall::iptables::{Iptables, Pair, Paths};
use postern::adapters::firewall::{Change, FirewallDriver};
use postern::adapters::process::Programs;
use postern::model::grant::{Grant, GrantId};
use postern::model::run::{Call, Ran, Run, RunError};
use postern::model::service::Ports;
use postern::model::settings::Protection;
use postern::model::time::Timestamp;
use postern_harness::namespace::Namespace;

/// A network namespace that the test and its driver share.
#[derive(Clone)]
pub(crate) struct Space(Arc<Namespace>);

impl Space {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Namespace::new()))
    }

    pub(crate) fn thread(&self) -> i32 {
        self.0.thread_id
    }

    pub(crate) fn run<R: Send + 'static>(&self, job: impl FnOnce() -> R + Send + 'static) -> R {
        self.0.run(job)
    }

    pub(crate) fn sh(&self, script: &str) -> String {
        let script = format!("export PATH=/usr/sbin:/usr/bin:/sbin:/bin; {script}");
        let out = self.run(move || {
            Command::new("/bin/sh")
                .args(["-ec", &script])
                .output()
                .unwrap()
        });
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        String::from_utf8(out.stdout).unwrap()
    }
}

/// Runs programs inside a namespace, and counts them.
struct Inside {
    space: Space,
    deadline: Duration,
    count: Arc<AtomicUsize>,
}

impl Run for Inside {
    fn run(&mut self, call: &Call<'_>) -> Result<Ran, RunError> {
        self.count.fetch_add(1, Ordering::Relaxed);
        let (program, stdin, most, deadline) = (
            call.program.to_owned(),
            call.stdin.to_vec(),
            call.most,
            self.deadline,
        );
        let args: Vec<String> = call.args.iter().map(|arg| (*arg).to_owned()).collect();
        self.space.run(move || {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            Programs::with_deadline(deadline).run(&Call {
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
    pub(crate) gate: Space,
    pub(crate) peer: Space,
    variant: &'static str,
    count: Arc<AtomicUsize>,
}

impl World {
    pub(crate) fn new(variant: &'static str) -> Self {
        Self::with(variant, paths(variant), Duration::from_secs(10))
    }

    pub(crate) fn with(variant: &'static str, paths: Paths, deadline: Duration) -> Self {
        let (gate, peer) = (Space::new(), Space::new());
        gate.sh(&format!(
            "ip link add wire type veth peer name wire netns {}",
            peer.thread()
        ));
        for (space, host) in [(&gate, 1), (&peer, 7)] {
            space.sh(&format!(
                "ip addr add 192.0.2.{host}/24 dev wire; ip addr add 2001:db8::{host}/64 dev wire nodad; ip link set wire up"
            ));
        }
        let count = Arc::new(AtomicUsize::new(0));
        let run = Inside {
            space: gate.clone(),
            deadline,
            count: Arc::clone(&count),
        };
        let world = Self {
            driver: Iptables::new(Box::new(run), paths),
            gate,
            peer,
            variant,
            count,
        };
        ["192.0.2.1:9", "[2001:db8::1]:9"]
            .iter()
            .for_each(|closed| world.wait_until_refused(closed));
        world
    }

    /// A new link loses its first packets, which looks like a firewall.
    fn wait_until_refused(&self, closed: &str) {
        let closed: SocketAddr = closed.parse().unwrap();
        let knock = move || {
            TcpStream::connect_timeout(&closed, Duration::from_millis(400))
                .unwrap_err()
                .kind()
        };
        let answers = (0..50).map(|_| self.peer.run(knock));
        assert!(
            answers
                .into_iter()
                .any(|kind| kind == ErrorKind::ConnectionRefused),
            "{closed} cannot be reached"
        );
    }

    /// Another driver of the same firewall.
    pub(crate) fn another_driver(&self) -> Iptables {
        let run = Inside {
            space: self.gate.clone(),
            deadline: Duration::from_secs(10),
            count: Arc::clone(&self.count),
        };
        Iptables::new(Box::new(run), paths(self.variant))
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

    /// The monitor does this before the first installation.
    pub(crate) fn adopt(&self, services: &[&str]) -> usize {
        let ports: Vec<Ports> = services.iter().map(|text| text.parse().unwrap()).collect();
        self.gate
            .run(move || KernelConntrack::open().unwrap().adopt(&ports).unwrap())
    }

    pub(crate) fn listen(&self, address: &str) -> TcpListener {
        let address = address.to_owned();
        self.gate.run(move || TcpListener::bind(address).unwrap())
    }

    pub(crate) fn connects(&self, address: &str) -> bool {
        self.connect(address).is_some()
    }

    /// An answer comes within a millisecond here, and a second SYN is sent only after a second.
    pub(crate) fn connect(&self, address: &str) -> Option<TcpStream> {
        let address: SocketAddr = address.parse().unwrap();
        self.peer
            .run(move || TcpStream::connect_timeout(&address, Duration::from_millis(400)).ok())
    }
}

pub(crate) fn paths(variant: &str) -> Paths {
    let pair = |name: &str| Pair {
        restore: format!("/usr/sbin/{name}-{variant}-restore").into(),
        save: format!("/usr/sbin/{name}-{variant}-save").into(),
    };
    Paths {
        v4: pair("iptables"),
        v6: Some(pair("ip6tables")),
    }
}

/// The variants that this kernel has.
#[expect(clippy::print_stderr, reason = "what is not tested is said")]
pub(crate) fn variants() -> Vec<&'static str> {
    let save = || {
        Command::new("/usr/sbin/iptables-legacy-save")
            .args(["-t", "filter"])
            .output()
    };
    if Space::new().run(move || save().is_ok_and(|out| out.status.success())) {
        return vec!["nft", "legacy"];
    }
    eprintln!("this kernel has no legacy tables: only iptables-nft is tested");
    vec!["nft"]
}

pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap())
}

pub(crate) fn grant(id: u64, allow: &str, services: &[&str], length: Duration) -> Grant {
    Grant {
        id: GrantId(id),
        user: "alice@example.org".to_owned(),
        allow: allow.parse().unwrap(),
        target: None,
        services: services.iter().map(|text| text.parse().unwrap()).collect(),
        forwards: Vec::new(),
        until: now().plus(length),
    }
}

pub(crate) fn protection(services: &[&str]) -> Protection {
    let services = services.iter().map(|text| text.parse().unwrap()).collect();
    let behind = [("10.0.0.0/24", "tcp/443"), ("2001:db8:1::/64", "tcp/443")];
    let behind = behind
        .map(|(network, ports)| (network.parse().unwrap(), ports.parse().unwrap()))
        .into();
    Protection {
        services,
        knock_ports: vec![62201],
        silence_knocks: true,
        behind,
        hide_behind: true,
        forwards: Vec::new(),
    }
}
