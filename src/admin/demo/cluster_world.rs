//! The gates, the etcd and the client of `posternd demo --cluster`. Drop ends them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Pid, Signal, kill_process};

use super::client;
use super::daemon::Daemon;
use super::interrupt::Interrupt;
use super::knock::SentKnock;
use super::link;
use super::namespaces::Namespace;
use super::steps::PATIENCE;
use super::world::{CLIENT_V4, KNOCK_PORT, SERVICE_PORT, connect, serve};
use crate::adapters::process;
use crate::adapters::{files, random};
use crate::model::exit::{ExitError, FAILED, UNAVAILABLE};

const GATES: u8 = 3;
const OPEN_FOR: Duration = Duration::from_secs(3);
/// The longest start, claim or end on a slow machine.
const WITHIN: Duration = Duration::from_secs(20);

pub(super) struct Cluster {
    /// Dropped first, because its files are in the folder of a gate.
    pub(super) etcd: Etcd,
    gates: Vec<Gate>,
    profile: String,
}

struct Gate {
    address: IpAddr,
    daemon: Daemon,
    _space: Namespace,
}

pub(super) struct Etcd {
    program: PathBuf,
    folder: PathBuf,
    child: Option<Child>,
}

impl Cluster {
    pub(super) fn start(interrupt: &Interrupt, backend: &str) -> Result<Self, ExitError> {
        let program = Etcd::find()?;
        let key: [u8; 32] = random::bytes().map_err(ExitError::system("making a key"))?;
        let key = STANDARD.encode(key);
        let gates = (1..=GATES).map(|number| Gate::start(number, &key, backend, interrupt));
        let gates: Vec<Gate> = gates.collect::<Result<_, _>>()?;
        let first = gates.first().ok_or(ExitError::new(FAILED, "no gate"))?;
        let etcd = Etcd {
            program,
            folder: first.daemon.folder.clone(),
            child: None,
        };
        let at = SocketAddr::new(first.address, KNOCK_PORT);
        let profile = format!(
            "[gates]\ngate = \"demo\"\naddress = \"{at}\"\nkey = \"{key}\"\nservices = [\"tcp/{SERVICE_PORT}\"]\n"
        );
        first.daemon.write("gates.toml", &profile)?;
        let mut cluster = Self {
            profile: first.daemon.profile("gates"),
            etcd,
            gates,
        };
        cluster.etcd.start()?;
        cluster.wait_for_etcd()?;
        Ok(cluster)
    }

    pub(super) fn addresses(&self) -> Vec<String> {
        let addresses = self.gates.iter().map(|gate| gate.address.to_string());
        addresses.collect()
    }

    pub(super) fn wait_for<R>(&self, ask: impl FnMut() -> Option<R>) -> Option<R> {
        self.gates.first()?.daemon.wait_for(WITHIN, ask)
    }

    /// Until no gate refuses knocks.
    pub(super) fn wait_for_etcd(&self) -> Result<(), ExitError> {
        let mut why = None;
        let joined = self.wait_for(|| {
            why = self.gates.iter().find_map(Gate::why_away);
            why.is_none().then_some(())
        });
        joined.ok_or_else(|| {
            let why = why.unwrap_or_default();
            ExitError::new(FAILED, format!("the gates do not reach etcd: {why}"))
        })
    }

    pub(super) fn knock(&self) -> Result<Vec<u8>, ExitError> {
        client::packet(&Namespace::own(), "gates", &self.profile, OPEN_FOR)
    }

    pub(super) fn send(&self, knock: &[u8], to: Range<usize>) -> Result<(), ExitError> {
        self.some(to).iter().try_for_each(|gate| {
            let to = SocketAddr::new(gate.address, KNOCK_PORT);
            let sent = SentKnock::send(to, knock).map(drop);
            sent.map_err(|error| ExitError::new(FAILED, error))
        })
    }

    /// What a connection to each gate comes to.
    pub(super) fn connect(&self) -> Vec<String> {
        let attempts = self.gates.iter().map(|gate| {
            let at = SocketAddr::new(gate.address, SERVICE_PORT);
            match connect(at, PATIENCE) {
                Ok(took) => format!("{at}: open after {} ms", took.as_millis()),
                Err(error) => format!("{at}: {error}"),
            }
        });
        attempts.collect()
    }

    /// How many grants are open at all gates. A gate that does not answer counts as one.
    pub(super) fn grants(&self) -> usize {
        let grants = self.gates.iter().map(|gate| gate.daemon.grants());
        grants.map(|grants| grants.map_or(1, |all| all.len())).sum()
    }

    /// The line of the first of these gates that has counted this reason.
    pub(super) fn logged(&self, gates: Range<usize>, reason: &str) -> Option<String> {
        let (_, rule) = reason.split_once(' ')?;
        let has_counted = |gate: &&Gate| {
            let status = gate.daemon.status();
            status.is_ok_and(|status| status.reasons.contains_key(reason))
        };
        let gate = self.some(gates).iter().find(has_counted)?;
        gate.daemon.logged(&["alice", &format!("rule=\"{rule}\"")])
    }

    fn some(&self, gates: Range<usize>) -> &[Gate] {
        self.gates.get(gates).unwrap_or_default()
    }
}

impl Gate {
    /// In a namespace of its own, linked to that of the process.
    fn start(
        number: u8,
        key: &str,
        backend: &str,
        interrupt: &Interrupt,
    ) -> Result<Self, ExitError> {
        let space = Namespace::start();
        let address = Ipv4Addr::new(10, 77, 0, number.saturating_add(10));
        let (client, ours) = (format!("client{number}"), std::process::id());
        let far = client.clone();
        space.run(move || {
            link::make("gate0", &far, ours)?;
            link::configure_to("gate0", address, CLIENT_V4)?;
            let at = SocketAddr::from((address, SERVICE_PORT));
            serve(at).map_err(ExitError::system(format!("listening on {at}")))
        })??;
        link::configure_to(&client, CLIENT_V4, address)?;
        let mut daemon = Daemon::make(interrupt.clone())?;
        let sections = format!(
            "[cluster]\ncoordinator = \"etcd\"\nendpoints = [\"http://{CLIENT_V4}:2379\"]\nmember = \"gate{number}\"\n\n\
             [[user]]\nname = \"alice\"\nkey = \"{key}\"\nservices = [\"tcp/{SERVICE_PORT}\"]\n"
        );
        daemon.start(&sections, backend, &space)?;
        Ok(Self {
            address: address.into(),
            daemon,
            _space: space,
        })
    }

    fn why_away(&self) -> Option<String> {
        match self.daemon.status() {
            Ok(status) => status.cluster?.away,
            Err(error) => Some(error.to_string()),
        }
    }
}

impl Etcd {
    fn find() -> Result<PathBuf, ExitError> {
        if !cfg!(feature = "etcd") {
            let what =
                "this posternd is built without etcd; build it with: cargo build --features etcd";
            return Err(ExitError::new(UNAVAILABLE, what));
        }
        process::find("etcd").ok_or_else(|| {
            let what =
                "the program etcd is missing; Debian and Ubuntu have it in the package etcd-server";
            ExitError::new(UNAVAILABLE, what)
        })
    }

    /// With what it kept.
    pub(super) fn start(&mut self) -> Result<(), ExitError> {
        let folder = self.folder.display();
        let line = format!(
            "--data-dir {folder}/etcd --listen-client-urls http://0.0.0.0:2379 --advertise-client-urls http://127.0.0.1:2379 \
             --listen-peer-urls http://127.0.0.1:2380 --heartbeat-interval 10 --election-timeout 100"
        );
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let log = self.folder.join("etcd.log");
        // That of its last run.
        let _ = std::fs::remove_file(&log);
        let log = files::create_log(&log);
        let log = log.map_err(ExitError::system("making the log of etcd"))?;
        let again = log.try_clone();
        let again = again.map_err(ExitError::system("opening the log of etcd"))?;
        let output = [log.into(), again.into()];
        let child = process::start_program(&self.program, &arguments, output);
        self.child = Some(child.map_err(ExitError::system("starting etcd"))?);
        Ok(())
    }

    pub(super) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = kill_process(Pid::from_child(&child), Signal::TERM);
            let _ = child.wait();
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.stop();
    }
}
