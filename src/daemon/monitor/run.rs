//! `posternd run`: checks rights, locks, opens the firewall, gives up rights, and starts the event loop with its first engine.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use tracing::{info, warn};

use super::attempts::AttemptSocket;
use super::boot_protection::{self, BootProtection};
use super::event_loop::Monitor;
use super::executor::Executor;
use super::interfaces::InterfaceTable;
use super::rights::{self, RunAs};
use super::signals::Signals;
use super::supervisor::Supervisor;
use super::supervisor::engine_process;
use super::supervisor::launcher::{BoundSockets, Launcher};
use super::{
    config_programs, confinement, directories, driver, protect, routing, sockets, state_folder,
};
use crate::adapters::clock;
use crate::adapters::conntrack::Conntrack;
use crate::adapters::conntrack::kernel::KernelConntrack;
use crate::model::exit::{ExitError, UNAVAILABLE};
use crate::model::service;
use crate::model::settings::{CaptureKind, DriverKind, Interfaces, Settings};
use crate::model::time::{count, human};

/// Runs the daemon in the foreground until a signal stops it, or a trial fails.
pub(crate) fn run(config: &Path, trial: Option<Duration>) -> Result<(), ExitError> {
    run_until_stopped(config, trial).map_err(protect::after_failed_start)
}

fn run_until_stopped(config: &Path, trial: Option<Duration>) -> Result<(), ExitError> {
    let (texts, settings) = engine_process::load(config)?;
    rights::check_monitor(settings.gate.capture)?;
    let run_as = rights::run_as(&settings.gate.run_as)?;
    directories::check_control(&settings.gate.control_socket)?;
    let _lock = directories::lock(&settings.gate.control_socket)?;
    state_folder::prepare(&settings.gate.state_dir, config, &run_as)?;
    let signals = Signals::catch().map_err(ExitError::system("catching signals"))?;
    let choice = driver::Choice::of(&settings);
    let started = start(config, (texts, settings), run_as, signals, trial);
    if started.is_err() && trial.is_some() {
        warn!("the trial did not start: all rules are removed from the firewall");
        for error in driver::remove_all(&choice).errors {
            warn!("{error}; run posternd flush");
        }
        boot_protection::forget();
    }
    started?.serve()
}

fn start(
    config: &Path,
    loaded: (OwnedFd, Settings),
    run_as: RunAs,
    signals: Signals,
    trial: Option<Duration>,
) -> Result<Monitor, ExitError> {
    let mut settings = loaded.1.clone();
    let is_first_start = state_folder::is_empty(&settings.gate.state_dir);
    if is_first_start {
        driver::check_sets(config, &settings)?;
        routing::check_forwards(config, &settings)?;
    }
    let backend = driver::backend(&settings)?;
    let attempts = AttemptSocket::open(&settings);
    attempts.put_into(&mut settings);
    let clock = clock::Steady::new();
    let mut executor = Executor::open(&settings, backend, conntrack(), clock.now())
        .map_err(|error| ExitError::new(UNAVAILABLE, error))?;
    executor.keep_for_boot(BootProtection::new());
    if let (Err(why), true) = (executor.opens(), is_first_start) {
        let removed = executor.remove();
        let rest = removed.map_or_else(
            |error| format!("; {error}; run posternd flush"),
            |()| String::new(),
        );
        return Err(ExitError::new(
            UNAVAILABLE,
            format!("no grant would open on this host: {why}{rest}"),
        ));
    }
    driver::remove_leftovers(&settings, executor.backend_name());
    if executor.backend_name() == "iptables" {
        // What the other variant had of Postern is removed now.
        executor.check_firewall(clock.now());
    }
    if executor.opens().is_err()
        && executor.backend_name() == "iptables"
        && let Some(nftables) = driver::instead_of_iptables(&settings)
    {
        warn!("iptables opens nothing here now; nftables is used until the next start");
        executor = Executor::open(&settings, nftables, conntrack(), clock.now())
            .map_err(|error| ExitError::new(UNAVAILABLE, error))?;
        executor.keep_for_boot(BootProtection::new());
        driver::remove_leftovers(&settings, executor.backend_name());
    }
    executor.attach(config_programs::hooks(&settings, &executor, clock)?);
    let backend = executor.backend_name();
    let control = sockets::control_socket(&settings.gate.control_socket)?;
    log_start(&settings, backend, &run_as);
    if let Some(length) = trial {
        executor.begin_trial(clock.now().plus(length));
        let unless = "unless a knock is admitted or `posternd confirm` runs first";
        warn!(
            "trial for {}: all firewall rules are then removed {unless}",
            human(length)
        );
    }
    executor.keep_protection();
    if settings.roster.is_some() {
        // Before the sandbox, which allows only folders that exist.
        directories::prepare_monitor(&settings.gate.state_dir)?;
    }
    confinement::log(&confinement::enter(&settings, config, backend)?);
    let launcher = Launcher {
        config: config.to_owned(),
        loaded: Some(loaded),
        control,
        run_as,
        backend,
        clock,
        bound: BoundSockets::default(),
        interfaces: InterfaceTable::default(),
        attempts,
        prefilter_line: None,
    };
    let supervisor = Supervisor::start(launcher, settings)?;
    Ok(Monitor::new(clock, signals, executor, supervisor))
}

fn conntrack() -> Option<Box<dyn Conntrack>> {
    match KernelConntrack::open() {
        Ok(kernel) => Some(Box::new(kernel)),
        Err(error) => {
            warn!("open connections may be cut now, and none is ended with its grant: {error}");
            None
        }
    }
}

fn log_start(settings: &Settings, backend: &str, run_as: &RunAs) {
    let gate = &settings.gate;
    let mut sources = match (gate.capture, &gate.interfaces) {
        (CaptureKind::Udp, _) => "bound sockets".to_owned(),
        (CaptureKind::Packet, Interfaces::Any) => "every interface".to_owned(),
        (CaptureKind::Packet, Interfaces::Named(names)) => names.join(", "),
        (CaptureKind::Nflog(group), _) => format!("group {group} of NFLOG"),
        (CaptureKind::None, _) => String::new(),
    };
    if !sources.is_empty() {
        let ports = service::list(&gate.ports);
        sources = format!("knocks to UDP port {ports} on {sources}");
    }
    if let Some(sensor) = &gate.log_sensor {
        let between = if sources.is_empty() { "" } else { " and " };
        sources += &format!("{between}sequences in {}", sensor.source);
    }
    let name = gate.name.as_str();
    let users = settings.policies.len();
    let why = match (settings.firewall.backend, backend) {
        (DriverKind::Auto, "nftables") => ", because this kernel has nf_tables",
        (DriverKind::Auto, _) => ", because this kernel has no nf_tables",
        _ => "",
    };
    info!(
        gate = name,
        users,
        backend,
        "gate {name}: listening for {sources}, {}, firewall by {backend}{why}",
        count(users, "user"),
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
    let own = routing::forwards_to_this_host(settings);
    for warning in routing::warnings(settings).iter().chain(&own) {
        warn!("{warning}");
    }
}
