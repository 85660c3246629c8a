//! What the monitor gives up before it serves: capabilities, paths, programs and system calls that its config gives it no use for.
//!
//! Best effort. Programs of the config (`[firewall.command]`, hooks) inherit what is given up and may need anything, so with them
//! nothing is; a config that gets its first hook on a reload therefore needs a restart. Must come before there are threads.

use std::path::{Path, PathBuf};

use caps::{CapSet, Capability, CapsHashSet};
use rustix::process::{self, DumpableBehavior, Resource, Rlimit};
use tracing::{debug, info};

use crate::monitor::prepare;
use crate::sandbox::{self, Paths};
use crate::settings::{BackendKind, Settings};
use crate::stop::{SYSTEM, Stop};

/// What the monitor needs while it serves: the firewall and sockets of further engines; to make an engine its user and to end it.
const KEPT: [Capability; 8] = [
    Capability::CAP_NET_ADMIN,
    Capability::CAP_NET_RAW,
    Capability::CAP_BPF,
    Capability::CAP_SETUID,
    Capability::CAP_SETGID,
    Capability::CAP_SETPCAP,
    Capability::CAP_CHOWN,
    Capability::CAP_KILL,
];

/// Whether programs that the config names run as root, whatever they may need for it.
pub(super) fn runs_programs_of_config(settings: &Settings) -> bool {
    let hooks = settings.options.values().any(|options| options.on_open.is_some() || options.on_close.is_some());
    hooks || settings.firewall.backend == BackendKind::Command
}

/// Gives up what it can. `backend` is the driver's name. Returns what could not be given up, one line each.
///
/// # Errors
/// What the kernel said where half of it was done.
pub(super) fn enclose(settings: &Settings, config: &Path, backend: &str) -> Result<Vec<String>, Stop> {
    let mut gaps = Vec::new();
    // For the engine, whose keys must not be swapped out.
    let unlimited = Rlimit { current: None, maximum: None };
    if process::setrlimit(Resource::Memlock, unlimited).is_err() && process::getrlimit(Resource::Memlock) != unlimited {
        gaps.push("the engine's memory can't be locked (RLIMIT_MEMLOCK): keys may be swapped out".to_owned());
    }
    let no_core = Rlimit { current: Some(0), maximum: Some(0) };
    process::setrlimit(Resource::Core, no_core).map_err(Stop::system("forbidding core dumps"))?;
    process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Stop::system("forbidding core dumps"))?;
    if runs_programs_of_config(settings) {
        gaps.push("the monitor keeps all its rights, for programs of the config run with them".to_owned());
        return Ok(gaps);
    }
    gaps.extend(keep_capabilities().err().map(|error| format!("the monitor keeps all its capabilities: {error}")));
    let native = backend == "nftables";
    let failed = |error: String| Stop::new(SYSTEM, error);
    gaps.extend(sandbox::monitor(&paths(settings, config, native), native).map_err(failed)?);
    Ok(gaps)
}

/// Tells what `enclose` could not do.
pub(super) fn tell(gaps: &[String]) {
    if gaps.is_empty() {
        debug!("the monitor has given up all that it has no use for");
    }
    for gap in gaps {
        info!("not as tight as it could be: {gap}");
    }
}

fn keep_capabilities() -> Result<(), caps::errors::CapsError> {
    let permitted = caps::read(None, CapSet::Permitted)?;
    let kept: CapsHashSet = KEPT.into_iter().filter(|capability| permitted.contains(capability)).collect();
    for capability in caps::read(None, CapSet::Bounding)?.difference(&kept) {
        caps::drop(None, CapSet::Bounding, *capability)?;
    }
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)
}

/// What may still be touched. Reading goes everywhere, for a later config may name files anywhere; writing does not.
fn paths(settings: &Settings, config: &Path, native: bool) -> Paths {
    let folder = |path: &Path| path.parent().map(Path::to_path_buf);
    let gate = &settings.gate;
    let mut write = vec![gate.state_dir.clone(), prepare::monitor_path(&gate.state_dir), PathBuf::from("/dev/null")];
    write.extend(folder(&gate.control_socket));
    write.extend(settings.metrics.file.as_deref().and_then(folder));
    let mut execute = vec![PathBuf::from("/lib"), PathBuf::from("/lib64"), PathBuf::from("/usr/lib"), PathBuf::from("/usr/lib64")];
    execute.extend(std::env::current_exe());
    if !native {
        // The firewall's programs, and the lock that some of them take.
        execute.extend(["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin"].map(PathBuf::from));
        write.push(PathBuf::from("/run"));
    }
    debug!(config = %config.display(), ?write, "what the monitor may write to from now on");
    let notify = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
    Paths { read: vec![PathBuf::from("/")], execute, write, bind: true, outside: notify.as_encoded_bytes().starts_with(b"@") }
}
