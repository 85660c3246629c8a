//! A gate between clients and a host, with any driver, and the questions that both sides may ask.
//!
//! Owns namespaces, links and sessions; all of it goes with the world.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postern::adapters::firewall::iptables::Iptables;
use postern::adapters::firewall::nftables::Nftables;
use postern::adapters::firewall::{Change, FirewallDriver};
use postern::adapters::process::Programs;
use postern::model::catalog::Forward;
use postern::model::grant::Grant;
use postern::model::settings::Protection;

use postern_harness::firewall::iptables_paths;
use postern_harness::traffic::Session;
use postern_harness::{Namespace, now, wait_until};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The addresses of one family.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Side {
    pub(crate) client: &'static str,
    /// The gate, as the client and as the stranger know it.
    pub(crate) gate: [&'static str; 2],
    /// The gate, as the host behind it knows it.
    pub(crate) gate_inside: &'static str,
    pub(crate) inner: &'static str,
    pub(crate) neighbour: &'static str,
    /// Networks of the clients and of the hosts behind the gate.
    pub(crate) outside: &'static str,
    pub(crate) inside: &'static str,
}

pub(crate) const SIDES: [Side; 2] = [
    Side {
        client: "192.0.2.7",
        gate: ["192.0.2.1", "198.51.100.1"],
        gate_inside: "10.0.0.1",
        inner: "10.0.0.5",
        neighbour: "10.0.0.6",
        outside: "192.0.2.0/24",
        inside: "10.0.0.0/24",
    },
    Side {
        client: "2001:db8:1::7",
        gate: ["2001:db8:1::1", "2001:db8:2::1"],
        gate_inside: "fd00::1",
        inner: "fd00::5",
        neighbour: "fd00::6",
        outside: "2001:db8:1::/64",
        inside: "fd00::/64",
    },
];

pub(crate) struct World {
    driver: Arc<Mutex<Option<Box<dyn FirewallDriver>>>>,
    pub(crate) kind: &'static str,
    pub(crate) gate: Namespace,
    pub(crate) client: Namespace,
    pub(crate) stranger: Namespace,
    pub(crate) inner: Namespace,
}

impl World {
    /// Three ports are served behind the gate, and one at the client; nothing is installed yet.
    pub(crate) fn new(kind: &'static str) -> Self {
        let [gate, client, stranger, inner] = [(); 4].map(|()| Namespace::new());
        for (name, space, own, v4, v6) in [
            ("out", &client, 7, "192.0.2", "2001:db8:1:"),
            ("far", &stranger, 8, "198.51.100", "2001:db8:2:"),
            ("in", &inner, 5, "10.0.0", "fd00:"),
        ] {
            let ends = [1, own].map(|host| [format!("{v4}.{host}/24"), format!("{v6}:{host}/64")]);
            let [here, there] = ends
                .each_ref()
                .map(|end| end.each_ref().map(String::as_str));
            gate.link(space, name, &here, &there);
            space.sh(&format!(
                "ip route add default via {v4}.1; ip -6 route add default via {v6}:1"
            ));
        }
        inner.sh("ip addr add 10.0.0.6/24 dev in; ip -6 addr add fd00::6/64 dev in nodad");
        gate.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        for port in [22, 23, 80] {
            inner.serve_sessions(port);
        }
        client.serve_sessions(22);
        let world = Self {
            driver: Arc::new(Mutex::new(None)),
            kind,
            gate,
            client,
            stranger,
            inner,
        };
        world.restart();
        for side in SIDES {
            let all_up = || {
                world.reaches(&world.client, side.inner, 22)
                    && world.reaches(&world.stranger, side.inner, 22)
            };
            wait_until("connection over the links", all_up);
        }
        world
    }

    /// A new driver, that knows nothing.
    pub(crate) fn restart(&self) {
        let (driver, kind) = (Arc::clone(&self.driver), self.kind);
        self.gate.run(move || {
            let mut made: Box<dyn FirewallDriver> = match kind.strip_prefix("iptables-") {
                None => Box::new(Nftables::open().unwrap()),
                Some(variant) => Box::new(Iptables::new(
                    Box::new(Programs::default()),
                    iptables_paths(variant),
                )),
            };
            made.tick(now());
            *driver.lock().unwrap() = Some(made);
        });
    }

    /// Drives inside the gate: programs that are run belong to its namespace.
    pub(crate) fn drive<R: Send + 'static>(
        &self,
        act: impl FnOnce(&mut dyn FirewallDriver) -> R + Send + 'static,
    ) -> R {
        let driver = Arc::clone(&self.driver);
        self.gate.run(move || {
            let mut driver = driver.lock().unwrap();
            let driver = driver.as_mut().unwrap().as_mut();
            driver.tick(now());
            act(driver)
        })
    }

    pub(crate) fn install(&self, protection: &Protection, live: &[Grant]) {
        let (protection, live) = (protection.clone(), live.to_vec());
        self.drive(move |driver| driver.install(&protection, &live))
            .unwrap();
        assert!(self.is_whole());
    }

    pub(crate) fn apply(&self, change: Change) {
        let results = self.drive(move |driver| driver.apply(&[change]));
        assert_eq!(results, [Ok(())]);
        assert!(self.is_whole());
    }

    /// Whether the driver sees all that it put there.
    pub(crate) fn is_whole(&self) -> bool {
        self.drive(|driver| driver.verify()).unwrap()
    }

    pub(crate) fn list(&self) -> Vec<Grant> {
        self.drive(|driver| driver.list()).unwrap()
    }

    /// All rules of all families and tables, without counters and the lines that tell the time.
    pub(crate) fn rules(&self) -> String {
        let saves = "for v in nft legacy; do for f in iptables ip6tables; do $f-$v-save 2>/dev/null | grep -v '^#' || true; done; done";
        let rules = self
            .gate
            .sh(&format!("{saves}; nft -s list ruleset 2>/dev/null"));
        rules
            .lines()
            .map(|line| line.split(" [").next().unwrap())
            .collect::<Vec<_>>()
            .join("\n")
    }

    pub(crate) fn reaches(&self, from: &Namespace, to: &str, port: u16) -> bool {
        self.session(from, to, port).is_some()
    }

    /// A session with a server, where it answers.
    pub(crate) fn session(&self, from: &Namespace, to: &str, port: u16) -> Option<Session> {
        let to = SocketAddr::new(to.parse().unwrap(), port);
        from.session(to).ok()
    }

    /// Whether a port is hidden: nobody answers, not even with a refusal.
    pub(crate) fn is_hidden(&self, from: &Namespace, to: &str, port: u16) -> bool {
        let to = SocketAddr::new(to.parse().unwrap(), port);
        from.session(to).err() == Some(ErrorKind::TimedOut)
    }
}

pub(crate) fn forward(at: &str, host: &str, port: Option<u16>, masquerade: bool) -> Forward {
    Forward::new(at.parse().unwrap(), host.parse().unwrap(), port, masquerade).unwrap()
}
