//! The demo's world: two linked network namespaces, a config, a daemon and a service.
//!
//! ```text
//!   client (a thread's own namespace)          gate (the process's own namespace)
//!   10.77.0.2/24, fd77::2/64  client0 ════ gate0  10.77.0.1/24, fd77::1/64
//!                                               posternd, and a service on tcp/2222
//! ```

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use super::client;
use super::daemon::Daemon;
use super::interrupt::Interrupt;
use super::link;
use super::namespaces::Namespace;
use super::probe_error::ProbeError;
use crate::adapters::clock;
use crate::model::exit::ExitError;

pub(super) const KNOCK_PORT: u16 = 62201;
pub(super) const SERVICE_PORT: u16 = 2222;
pub(super) const GATE_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub(super) const GATE_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
pub(super) const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
pub(super) const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);

pub(super) const PROFILES: [(&str, IpAddr); 2] = [
    ("home", IpAddr::V4(GATE_V4)),
    ("home6", IpAddr::V6(GATE_V6)),
];

pub(super) struct World {
    pub(super) daemon: Daemon,
    pub(super) client: Namespace,
}

impl World {
    pub(super) fn make(interrupt: Interrupt) -> Result<Self, ExitError> {
        let world = Self {
            daemon: Daemon::make(interrupt)?,
            client: Namespace::start(),
        };
        world.link_namespaces()?;
        for (_, address) in PROFILES {
            let doing = format!("listening on {address} port {SERVICE_PORT}");
            serve(SocketAddr::new(address, SERVICE_PORT)).map_err(ExitError::system(doing))?;
        }
        Ok(world)
    }

    pub(super) fn write_profiles(&self, key: &str) -> Result<(), ExitError> {
        for (name, address) in PROFILES {
            let address = SocketAddr::new(address, KNOCK_PORT);
            let profile = format!(
                "[{name}]\ngate = \"demo\"\naddress = \"{address}\"\nkey = \"{key}\"\nservices = [\"tcp/{SERVICE_PORT}\"]\n"
            );
            self.daemon.write(&format!("{name}.toml"), &profile)?;
        }
        Ok(())
    }

    pub(super) fn start_daemon(&mut self, users: &str, backend: &str) -> Result<(), ExitError> {
        self.daemon.start(users, backend, &Namespace::own())
    }

    pub(super) fn postern(&self, arguments: &[&str]) -> Result<(bool, String), ExitError> {
        client::postern(&self.client, arguments)
    }

    pub(super) fn packet(&self, profile: &str, open_for: Duration) -> Result<Vec<u8>, ExitError> {
        client::packet(
            &self.client,
            profile,
            &self.daemon.profile(profile),
            open_for,
        )
    }

    fn link_namespaces(&self) -> Result<(), ExitError> {
        let ours = std::process::id();
        self.at_client(move || {
            link::make("client0", "gate0", ours)?;
            link::configure("client0", CLIENT_V4, CLIENT_V6)
        })??;
        link::configure("gate0", GATE_V4, GATE_V6)
    }

    pub(super) fn at_client<R: Send + 'static>(
        &self,
        task: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, ExitError> {
        self.client.run(task)
    }
}

pub(super) fn serve(address: SocketAddr) -> std::io::Result<()> {
    let listener = TcpListener::bind(address)?;
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"hello\n");
        }
    });
    Ok(())
}

pub(super) fn connect(address: SocketAddr, patience: Duration) -> Result<Duration, ProbeError> {
    let start = clock::instant();
    match std::net::TcpStream::connect_timeout(&address, patience) {
        Ok(_) => Ok(clock::elapsed(start)),
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            Err(ProbeError::NoAnswer(patience))
        }
        Err(error) => Err(ProbeError::Answered(error)),
    }
}
