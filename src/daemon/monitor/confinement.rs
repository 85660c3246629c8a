//! The monitor's sandbox: before it serves it gives up capabilities, paths, programs and system calls that its config does not need.
//!
//! Best effort. Programs of the config (`[firewall.command]`, hooks) inherit the sandbox and may need anything, so with them the
//! monitor keeps all rights. The first hook therefore needs a restart, not a reload. Must run before there are threads.

use std::path::{Path, PathBuf};

use caps::{CapSet, Capability, CapsHashSet};
use rustix::process::{self, Resource, Rlimit};
use tracing::{debug, info};

use crate::adapters::firewall::iptables;
use crate::adapters::process as programs;
use crate::adapters::sandbox::{self, Paths};
use crate::daemon::engine::privileges;
use crate::daemon::monitor::{boot_protection, directories, open_log};
use crate::model::exit::{ExitError, SYSTEM};
use crate::model::settings::{DriverKind, LogSource, Settings};

/// Capabilities that the monitor keeps: for the firewall, for sockets of further engines, and to start and end an engine.
const KEPT: [Capability; 9] = [
    Capability::CAP_NET_ADMIN,
    Capability::CAP_NET_RAW,
    // A knock port below 1024 with capture = "udp".
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_BPF,
    Capability::CAP_SETUID,
    Capability::CAP_SETGID,
    Capability::CAP_SETPCAP,
    Capability::CAP_CHOWN,
    Capability::CAP_KILL,
];

pub(super) fn runs_config_programs(settings: &Settings) -> bool {
    let mut services = settings.catalog.values();
    let hooks = services.any(|service| service.on_open.is_some() || service.on_close.is_some());
    hooks || settings.firewall.backend == DriverKind::Command
}

/// Enters the sandbox. `backend` is the driver's name. Returns a line for each right that could not be given up.
pub fn enter(settings: &Settings, config: &Path, backend: &str) -> Result<Vec<String>, ExitError> {
    let mut gaps: Vec<String> = allow_locking().into_iter().collect();
    privileges::forbid_core_dumps()?;
    gaps.extend(give_up(settings, config, backend)?);
    Ok(gaps)
}

/// The rights that [`enter`] and the engine's sandbox cannot give up on this host, one line each. Two threads try it and end, because a
/// thread's rights are its own.
pub fn gaps(settings: &Settings, config: &Path, backend: &str) -> Vec<String> {
    let mut gaps: Vec<String> = allow_locking().into_iter().collect();
    let failed = || Err(ExitError::new(SYSTEM, "the thread that tried it died"));
    let [monitor, engine] = std::thread::scope(|scope| {
        let monitor = scope.spawn(|| give_up(settings, config, backend));
        let engine = scope.spawn(|| {
            sandbox::engine(&settings.gate.state_dir).map_err(|error| ExitError::new(SYSTEM, error))
        });
        [monitor, engine].map(|tried| tried.join().unwrap_or_else(|_| failed()))
    });
    let lines =
        |tried: Result<Vec<String>, ExitError>| tried.unwrap_or_else(|stop| vec![stop.message]);
    gaps.extend(lines(monitor));
    gaps.extend(lines(engine).iter().map(|gap| format!("the engine: {gap}")));
    gaps
}

pub(super) fn log(gaps: &[String]) {
    if gaps.is_empty() {
        debug!("the monitor has given up all rights that it does not need");
    }
    for gap in gaps {
        info!("{}", sandbox::gap_line(gap));
    }
}

/// Raises the limit of locked memory, so that the engine's keys are not swapped out. Returns why it cannot.
fn allow_locking() -> Option<String> {
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    let refused = process::setrlimit(Resource::Memlock, unlimited).is_err()
        && process::getrlimit(Resource::Memlock) != unlimited;
    refused.then(|| {
        "the engine's memory can't be locked (RLIMIT_MEMLOCK): keys may be swapped out".to_owned()
    })
}

fn give_up(settings: &Settings, config: &Path, backend: &str) -> Result<Vec<String>, ExitError> {
    if runs_config_programs(settings) {
        let why = "because programs of the config run with them";
        return Ok(vec![format!("the monitor keeps all its rights, {why}")]);
    }
    let mut gaps = Vec::new();
    if let Err(error) = keep_capabilities(settings) {
        gaps.push(format!("the monitor keeps all its capabilities: {error}"));
    }
    // journalctl needs more system calls than the monitor.
    let native = backend == "nftables" && log_source(settings) != Some(&LogSource::Journal);
    let left = sandbox::monitor(&paths(settings, config), native);
    gaps.extend(left.map_err(|error| ExitError::new(SYSTEM, error))?);
    Ok(gaps)
}

/// The ports that the monitor's cluster process connects to. A child has no more rights than the monitor.
pub(super) fn connected_ports(settings: &Settings) -> Vec<u16> {
    let Some(cluster) = &settings.cluster else {
        return Vec::new();
    };
    let ports: Vec<u16> = cluster.endpoints.iter().map(|one| one.port).collect();
    sandbox::with_name_servers(&ports)
}

fn log_source(settings: &Settings) -> Option<&LogSource> {
    let sensor = settings.gate.log_sensor.as_ref();
    sensor.map(|sensor| &sensor.source)
}

fn keep_capabilities(settings: &Settings) -> Result<(), caps::errors::CapsError> {
    let permitted = caps::read(None, CapSet::Permitted)?;
    // Each engine gets the kernel's log opened anew.
    let reads_kmsg = log_source(settings) == Some(&LogSource::Kmsg);
    let syslog = reads_kmsg.then_some(Capability::CAP_SYSLOG);
    let kept = KEPT.into_iter().chain(syslog);
    let kept: CapsHashSet = kept.filter(|one| permitted.contains(one)).collect();
    for capability in caps::read(None, CapSet::Bounding)?.difference(&kept) {
        caps::drop(None, CapSet::Bounding, *capability)?;
    }
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)
}

fn paths(settings: &Settings, config: &Path) -> Paths {
    let folder = |path: &Path| path.parent().map(Path::to_path_buf);
    let gate = &settings.gate;
    let mut write = vec![
        gate.state_dir.clone(),
        directories::monitor_path(&gate.state_dir),
        PathBuf::from(boot_protection::FOLDER),
        PathBuf::from("/dev/null"),
    ];
    write.extend(folder(&gate.control_socket));
    write.extend(settings.metrics.file.as_deref().and_then(folder));
    let mut execute = ["/lib", "/lib64", "/usr/lib", "/usr/lib64"]
        .map(PathBuf::from)
        .to_vec();
    execute.extend(std::env::current_exe());
    // The firewall's programs and their lock: the host's own rules may be those of iptables. Whole folders, because an
    // update replaces the files.
    execute.extend(
        iptables::Paths::locate(programs::find)
            .map(|programs| programs.folders())
            .unwrap_or_default(),
    );
    if log_source(settings) == Some(&LogSource::Journal) {
        let journalctl = programs::find(open_log::JOURNALCTL);
        execute.extend(journalctl.as_deref().and_then(folder));
    }
    write.push(PathBuf::from("/run"));
    debug!(config = %config.display(), ?write, "what the monitor may write to from now on");
    let notify = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
    Paths {
        read: vec![PathBuf::from("/")],
        execute,
        write,
        bind: true,
        connect: connected_ports(settings),
        outside: notify.as_encoded_bytes().starts_with(b"@"),
    }
}
