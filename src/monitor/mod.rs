//! The monitor: the privileged process. It prepares what needs privilege, starts the engine, and carries out its orders.
//!
//! Never parses a packet, makes no use of a key, and owns the closing of grants.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use crate::backend::iptables::Iptables;
use crate::backend::nftables::Nftables;
use crate::backend::{Backend, BackendError};
use crate::clock;
use crate::program::{self, Programs};
use crate::settings::{BackendKind, CaptureKind, Interfaces, Settings};
use crate::stop::{FAILED, Stop, UNAVAILABLE};

pub mod check;
mod child;
pub mod clearance;
pub mod desk;
pub mod prepare;
mod routing;
mod serve;

use desk::Desk;
use serve::Monitor;

/// The arguments that make this program an engine.
pub const ENGINE: [&str; 1] = ["engine"];

/// Runs the daemon in the foreground until a signal stops it.
///
/// # Errors
/// Why it could not begin or go on.
pub fn run(config: &Path) -> Result<(), Stop> {
    let (bundle, settings) = prepare::load(config)?;
    drop(bundle);
    prepare::rights()?;
    let run_as = prepare::run_as(&settings.gate.run_as)?;
    let _lock = prepare::lock(&settings.gate.control_socket)?;
    prepare::state_dir(&settings.gate.state_dir, &run_as)?;
    let signals = signals().map_err(Stop::system("taking signals"))?;
    let backend = backend(settings.firewall.backend)?;
    let clock = clock::Steady::new();
    let desk = Desk::open(&settings, backend, clock.now()).map_err(|error| Stop::new(UNAVAILABLE, error))?;
    let control = prepare::control_socket(&settings.gate.control_socket)?;
    announce(&settings, &desk, &run_as);
    let mut monitor = Monitor {
        config: config.to_owned(),
        settings,
        desk,
        engine: None,
        control,
        run_as,
        clock,
        signals,
        started: clock::instant(),
        pause: serve::PAUSE_MIN,
        served: false,
    };
    monitor.start_engine()?;
    monitor.serve()
}

/// The firewall driver that the config asks for.
///
/// # Errors
/// Exit 69 where it can't work here, and what to do.
pub fn backend(kind: BackendKind) -> Result<Box<dyn Backend>, Stop> {
    let iptables = || -> Result<Box<dyn Backend>, BackendError> {
        let paths = Iptables::locate(program::find)?;
        if let Some(warning) = paths.warning() {
            warn!("{warning}");
        }
        Ok(Box::new(Iptables::new(Box::new(Programs::default()), paths)))
    };
    let nftables = || -> Result<Box<dyn Backend>, BackendError> { Ok(Box::new(Nftables::open()?)) };
    let chosen = match kind {
        BackendKind::Iptables => iptables(),
        BackendKind::Nftables => nftables(),
        BackendKind::Auto if Iptables::locate(program::find).is_ok() => iptables(),
        BackendKind::Auto => nftables(),
    };
    chosen.map_err(|error| Stop::new(UNAVAILABLE, error))
}

/// Takes all that Postern put into the firewall out again, by every driver that works here; returns what to tell.
///
/// # Errors
/// Exit 77 without the right to, and what the firewall said.
pub fn flush(config: &Path) -> Result<String, Stop> {
    prepare::rights()?;
    let mut said = String::new();
    if let Ok((_, settings)) = prepare::load(config)
        && prepare::lock(&settings.gate.control_socket).is_err()
    {
        said.push_str("a posternd is running and will put its rules back; stop it first to be rid of them\n");
    }
    let mut flushed = 0u32;
    for kind in [BackendKind::Iptables, BackendKind::Nftables] {
        let Ok(mut backend) = backend(kind) else { continue };
        backend.remove().map_err(|error| Stop::new(FAILED, error))?;
        said.push_str(&format!("{}: nothing of Postern's is left\n", backend.name()));
        flushed = flushed.saturating_add(1);
    }
    if flushed == 0 { backend(BackendKind::Auto).map(|_| said) } else { Ok(said) }
}

/// The control socket that this config names, without looking at anything else of it.
///
/// # Errors
/// As [`prepare::load`].
pub fn control_socket(config: &Path) -> Result<PathBuf, Stop> {
    prepare::load(config).map(|(_, settings)| settings.gate.control_socket)
}

/// A stream that becomes readable when the process is told to stop.
fn signals() -> std::io::Result<UnixStream> {
    let (reader, writer) = UnixStream::pair()?;
    reader.set_nonblocking(true)?;
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::low_level::pipe::register(signal, writer.try_clone()?)?;
    }
    Ok(reader)
}

fn announce(settings: &Settings, desk: &Desk, run_as: &prepare::RunAs) {
    let gate = &settings.gate;
    let wire = match (gate.capture, &gate.interfaces) {
        (CaptureKind::Udp, _) => "bound sockets".to_owned(),
        (CaptureKind::Packet, Interfaces::Any) => "every interface".to_owned(),
        (CaptureKind::Packet, Interfaces::Named(names)) => names.join(", "),
    };
    let ports: Vec<String> = gate.ports.iter().map(ToString::to_string).collect();
    info!(
        gate = gate.name.as_str(),
        users = settings.policies.len(),
        backend = desk.backend_name(),
        "gate {}: listening for knocks to UDP port {} on {wire}, {} users, firewall by {}",
        gate.name.as_str(),
        ports.join(", "),
        settings.policies.len(),
        desk.backend_name()
    );
    if let Some(note) = &run_as.note {
        warn!("{note}");
    }
    let closed = settings.protection().closed();
    if closed.is_empty() {
        info!("no service is closed by posternd; the host's own rules must do it");
    } else {
        info!("closed for everyone who has not knocked: {closed}");
    }
    for warning in routing::warnings(settings) {
        warn!("{warning}");
    }
}
