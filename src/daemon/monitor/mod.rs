//! The monitor: the privileged process. It prepares what needs privilege, starts the engine, and carries out its orders.
//!
//! Never parses a packet, makes no use of a key, and owns the closing of grants.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::{info, warn};

use crate::adapters::clock;
use crate::adapters::config;
use crate::adapters::config::disk;
use crate::adapters::conntrack::Conntrack;
use crate::adapters::conntrack::kernel::KernelConntrack;
use crate::adapters::files::FileErrorKind;
use crate::adapters::firewall::iptables::{Iptables, Paths};
use crate::adapters::firewall::nftables::{self, Nftables};
use crate::adapters::firewall::{FirewallDriver, FirewallError};
use crate::adapters::process::{self, Programs};
use crate::model::exit::{ExitError, FAILED, UNAVAILABLE};
use crate::model::settings::{CaptureKind, DriverKind, Interfaces, Settings};

mod child;
pub mod enclosure;
pub mod executor;
mod health;
pub mod hooks;
mod metrics_file;
mod orphans;
mod pages;
mod prefilter;
pub mod prepare;
mod programs;
mod reloads;
pub mod routing;
mod serve;
mod signals;
mod status_reports;
mod succession;

use executor::Executor;
use reloads::Reloads;
use serve::Monitor;
use signals::Signals;
use status_reports::StatusReports;

/// The arguments that make this program an engine.
pub const ENGINE: [&str; 1] = ["engine"];

/// Runs the daemon in the foreground until a signal stops it, or a trial that nobody passes.
///
/// # Errors
/// Why it could not begin or go on.
pub fn run(config: &Path, trial: Option<Duration>) -> Result<(), ExitError> {
    let (bundle, settings) = disk::load(config)?;
    drop(bundle);
    prepare::rights()?;
    let run_as = prepare::run_as(&settings.gate.run_as)?;
    let _lock = prepare::lock(&settings.gate.control_socket)?;
    prepare::state_dir(&settings.gate.state_dir, &run_as)?;
    let signals = Signals::take().map_err(ExitError::system("taking signals"))?;
    let begun = begin(config, settings, run_as, signals, trial);
    if begun.is_err() && trial.is_some() {
        warn!("the trial did not begin: what it has put into the firewall is taken out");
        take_back();
    }
    begun?.serve()
}

/// From here on something may stand in the firewall.
fn begin(
    config: &Path,
    settings: Settings,
    run_as: prepare::RunAs,
    signals: Signals,
    trial: Option<Duration>,
) -> Result<Monitor, ExitError> {
    let backend = backend(&settings)?;
    let clock = clock::Steady::new();
    let executor = Executor::open(&settings, backend, connections(), clock.now());
    let mut executor = executor.map_err(|error| ExitError::new(UNAVAILABLE, error))?;
    executor.attach(programs::hooks(&settings, &executor, clock)?);
    remove_leftovers(&settings, executor.backend_name());
    let control = prepare::control_socket(&settings.gate.control_socket)?;
    announce(&settings, &executor, &run_as);
    if let Some(length) = trial {
        executor.begin_trial(clock.now().plus(length));
        let length = crate::model::time::human(length);
        warn!(
            "on trial for {length}: everything is taken back unless a knock is admitted or `posternd confirm` comes before"
        );
    }
    enclosure::tell(&enclosure::enclose(
        &settings,
        config,
        executor.backend_name(),
    )?);
    let mut monitor = Monitor {
        config: config.to_owned(),
        settings,
        executor,
        engine: None,
        successor: None,
        held: Vec::new(),
        listener: None,
        told_of_prefilter: None,
        control,
        run_as,
        clock,
        signals,
        status_reports: StatusReports::new(clock),
        reload_wanted: false,
        reloads: Reloads::default(),
        started: clock::instant(),
        pause: serve::PAUSE_MIN,
        served: false,
        looked: clock::instant(),
        look_pause: serve::PAUSE_MIN,
    };
    monitor.start_engine()?;
    Ok(monitor)
}

/// Takes everything out of the firewall, whoever put it there; says what could not be done.
fn take_back() {
    for mut backend in NATIVE.into_iter().filter_map(|kind| native(kind).ok()) {
        if let Err(error) = backend.remove() {
            warn!("{error}; run posternd flush");
        }
    }
}

/// Drivers that need nothing of the config.
const NATIVE: [DriverKind; 2] = [DriverKind::Iptables, DriverKind::Nftables];

/// The firewall driver that the config asks for.
///
/// # Errors
/// Exit 69 where it can't work here, and what to do.
pub fn backend(settings: &Settings) -> Result<Box<dyn FirewallDriver>, ExitError> {
    match settings.firewall.backend {
        DriverKind::Command => programs::command(settings),
        kind => native(kind),
    }
}

/// A driver that needs nothing of the config but its name.
///
/// # Errors
/// As [`backend`].
pub fn native(kind: DriverKind) -> Result<Box<dyn FirewallDriver>, ExitError> {
    let iptables = || -> Result<Box<dyn FirewallDriver>, FirewallError> {
        let paths = Paths::locate(process::find)?;
        if let Some(warning) = paths.warning() {
            warn!("{warning}");
        }
        let driver = Iptables::new(Box::new(Programs::default()), paths)
            .with_delete_table(Box::new(nftables::delete_table_of_iptables));
        // Where the kernel has no nf_tables, the programs are of the legacy variant.
        Ok(Box::new(match nftables::number_of_ruleset() {
            Ok(number) => driver.with_generation_id(number),
            Err(_) => driver,
        }))
    };
    let nftables =
        || -> Result<Box<dyn FirewallDriver>, FirewallError> { Ok(Box::new(Nftables::open()?)) };
    let chosen = match kind {
        DriverKind::Iptables => iptables(),
        DriverKind::Nftables => nftables(),
        DriverKind::Auto if Paths::locate(process::find).is_ok() => iptables(),
        DriverKind::Auto => nftables(),
        DriverKind::Command => Err(FirewallError::Unsupported(
            "its programs are not known here".to_owned(),
        )),
    };
    chosen.map_err(|error| ExitError::new(UNAVAILABLE, error))
}

/// What another driver left behind in an earlier run would close what this one opens.
fn remove_leftovers(settings: &Settings, chosen: &str) {
    if chosen != "command"
        && let Err(stop) = programs::close_leftovers(settings)
    {
        warn!("{stop}");
    }
    for kind in NATIVE {
        let Some(mut other) = native(kind).ok().filter(|other| other.name() != chosen) else {
            continue;
        };
        if let Err(error) = other.remove() {
            warn!(
                "what {} may hold of an earlier run could not be removed: {error}",
                other.name()
            );
        }
    }
}

/// The kernel's connections; without them the firewall does all that it did.
fn connections() -> Option<Box<dyn Conntrack>> {
    match KernelConntrack::open() {
        Ok(kernel) => Some(Box::new(kernel)),
        Err(error) => {
            warn!("open connections may be cut now, and none is ended with its grant: {error}");
            None
        }
    }
}

/// What became of all that Postern put into the firewall.
#[derive(Debug, Default)]
pub struct Flushed {
    /// Whether a daemon runs, which will put its rules back; `None` where the config does not say which one to look for.
    pub running: Option<bool>,
    /// Grants that programs of `[firewall.command]` had opened, and have closed now.
    pub closed: usize,
    /// The other drivers that work here; nothing of Postern's is left with them.
    pub backends: Vec<&'static str>,
    /// What else could not be done, and why.
    pub undone: Option<ExitError>,
}

/// Takes all that Postern put into the firewall out again, by every driver that works here: also where the config is wrong, which
/// must not keep ports closed.
///
/// # Errors
/// Exit 77 without the right to, and what the firewall said.
pub fn flush(config: &Path) -> Result<Flushed, ExitError> {
    prepare::rights()?;
    let mut flushed = Flushed::default();
    let loaded = disk::load(config).map(|(_, settings)| settings);
    let socket = control_socket(config);
    // Held until all is gone: no daemon starts meanwhile.
    let lock = socket
        .as_ref()
        .ok()
        .map(|socket| prepare::lock(&socket.path));
    let is_held = lock.as_ref().is_some_and(Result::is_err);
    // Without a config, nothing but the firewall can be meant.
    let is_missing = matches!(config.try_exists(), Ok(false));
    let is_known = is_held || is_missing || socket.is_ok_and(|socket| socket.doubt.is_none());
    flushed.running = is_known.then_some(is_held);
    match &loaded {
        Ok(settings) if !is_held => match programs::close_leftovers(settings) {
            Ok(closed) => flushed.closed = closed,
            Err(stop) => flushed.undone = Some(stop),
        },
        Err(wrong) if !is_missing => flushed.undone = Some(undone(wrong, is_known)),
        Ok(_) | Err(_) => {}
    }
    for kind in NATIVE {
        let Ok(mut backend) = native(kind) else {
            continue;
        };
        backend
            .remove()
            .map_err(|error| ExitError::new(FAILED, error))?;
        flushed.backends.push(backend.name());
    }
    if flushed.backends.is_empty() {
        native(DriverKind::Auto).map(|_| flushed)
    } else {
        Ok(flushed)
    }
}

/// What a config that can't be read keeps a flush from.
fn undone(wrong: &ExitError, is_known: bool) -> ExitError {
    let first = wrong.message.lines().next().unwrap_or_default();
    let more = match wrong.message.lines().count().saturating_sub(1) {
        0 => String::new(),
        more => format!(" (and {more} more: posternd check)"),
    };
    let daemon = if is_known {
        ""
    } else {
        ", and whether a daemon runs is not known"
    };
    ExitError::new(
        wrong.code,
        format!(
            "{first}{more}; so what [firewall.command] opened, if it is there, was not closed{daemon}"
        ),
    )
}

/// Where the daemon of a config is asked.
#[derive(Debug)]
pub struct ControlSocket {
    /// Its path.
    pub path: PathBuf,
    /// Why the config does not say which it is, so that this is the usual one.
    pub doubt: Option<String>,
}

/// The control socket that this config names, without looking at anything else of it: the daemon that runs began with the config as
/// it was, and is asked also where that is wrong now. A file that others could have written is not believed.
///
/// # Errors
/// Exit 78 where there is no such file, 77 where it may not be read.
pub fn control_socket(config: &Path) -> Result<ControlSocket, ExitError> {
    let named = match disk::read_config(config) {
        Ok(main) => config::control_socket(&main).map_err(|problems| problems.to_string()),
        Err(error)
            if matches!(
                error.kind(),
                FileErrorKind::NotFound | FileErrorKind::Permission
            ) =>
        {
            return Err(disk::unreadable(error));
        }
        Err(error) => Err(error.to_string()),
    };
    Ok(match named {
        Ok(path) => ControlSocket { path, doubt: None },
        Err(why) => ControlSocket {
            path: PathBuf::from(config::CONTROL_SOCKET),
            doubt: Some(why),
        },
    })
}

/// How it ends where nobody answers: a config that is wrong is told, too, for it keeps the daemon from starting and may name another socket.
pub fn unanswered(config: &Path, what: &str) -> ExitError {
    match disk::load(config) {
        Ok(_) => ExitError::new(UNAVAILABLE, what),
        Err(wrong) => ExitError::new(wrong.code, format!("{what}\n{wrong}")),
    }
}

fn announce(settings: &Settings, executor: &Executor, run_as: &prepare::RunAs) {
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
        backend = executor.backend_name(),
        "gate {}: listening for knocks to UDP port {} on {wire}, {}, firewall by {}",
        gate.name.as_str(),
        ports.join(", "),
        crate::model::time::count(settings.policies.len(), "user"),
        executor.backend_name()
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
