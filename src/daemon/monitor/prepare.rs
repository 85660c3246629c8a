//! What the monitor does with privilege before there is an engine: rights, config, directories, sockets.
//!
//! Everything here is looked at once, fails with one line that says what to do, and leaves nothing half made.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use caps::{CapSet, Capability};

use crate::adapters::capture;
use crate::adapters::control;
use crate::adapters::files;
use crate::adapters::metrics;
use crate::core::order::CaptureSpec;
use crate::model::exit::{CONFIG, ExitError, FAILED, PERMISSION, SYSTEM};
use crate::model::settings::{CaptureKind, Gate, Interfaces};

/// Who the engine becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunAs {
    /// User and group; `None` where this user namespace has no other one.
    pub ids: Option<(u32, u32)>,
    /// The sentence for the log where the engine stays who the monitor is.
    pub note: Option<String>,
}

/// The capabilities that the monitor can't do without.
const NEEDED: [(Capability, &str); 2] = [
    (Capability::CAP_NET_ADMIN, "to change the firewall"),
    (Capability::CAP_NET_RAW, "to listen on the wire"),
];

/// Whether this process has the rights to be a monitor.
///
/// # Errors
/// Exit 77 with the capability that is missing.
pub fn rights() -> Result<(), ExitError> {
    for (capability, what_for) in NEEDED {
        if !caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false) {
            return Err(ExitError::new(
                PERMISSION,
                format!("{capability} is missing, which posternd needs {what_for}; run it as root"),
            ));
        }
    }
    Ok(())
}

/// Finds the engine's user.
///
/// # Errors
/// Exit 78 where there is no such user, or it is root.
pub fn run_as(name: &str) -> Result<RunAs, ExitError> {
    let user = nix::unistd::User::from_name(name).ok().flatten();
    let user = user.ok_or_else(|| {
        ExitError::new(CONFIG, format!("run_as: there is no user \"{name}\"; make one with: useradd --system --no-create-home {name}"))
    })?;
    let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
    if uid == 0 {
        return Err(ExitError::new(
            CONFIG,
            "run_as: the engine must not run as root; name an unprivileged user",
        ));
    }
    if mapped("/proc/self/uid_map", uid) && mapped("/proc/self/gid_map", gid) {
        return Ok(RunAs {
            ids: Some((uid, gid)),
            note: None,
        });
    }
    let note = format!(
        "this user namespace has no user \"{name}\": the engine stays the user it is, without capabilities"
    );
    Ok(RunAs {
        ids: None,
        note: Some(note),
    })
}

/// Whether this id exists in this user namespace: the map's rows are first id inside, first id outside, count.
fn mapped(map: &str, id: u32) -> bool {
    let Ok(rows) = files::read_system(Path::new(map)) else {
        return true;
    };
    rows.lines().any(|row| {
        let mut numbers = row
            .split_whitespace()
            .filter_map(|number| number.parse::<u64>().ok());
        match (numbers.next(), numbers.nth(1)) {
            (Some(first), Some(count)) => {
                (first..first.saturating_add(count)).contains(&u64::from(id))
            }
            _ => false,
        }
    })
}

/// Makes the state directory if it is missing and gives it to the engine's user, also where it was given to somebody else since:
/// systemd takes a StateDirectory= back for root at every reload.
///
/// # Errors
/// Which directory, and what the system said.
pub fn state_dir(path: &Path, run_as: &RunAs) -> Result<(), ExitError> {
    make_dir(path, 0o700)?;
    let failed = |what: &str| format!("{}: {what}", path.display());
    let found =
        fs::metadata(path).map_err(ExitError::system(failed("looking at the state directory")))?;
    let me = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    let (uid, gid) = run_as.ids.unwrap_or(me);
    if (found.uid(), found.gid(), found.mode() & 0o7777) == (uid, gid, 0o700) {
        return Ok(());
    }
    // In our own hands first: that takes only the right to give things away, and not those to look into and to change what is others'.
    let give = |path: &Path, (uid, gid)| lchown(path, Some(uid), Some(gid));
    if found.uid() != me.0 {
        give(path, me).map_err(ExitError::system(failed("taking over the state directory")))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(ExitError::system(
        failed("closing the state directory to others"),
    ))?;
    for entry in fs::read_dir(path)
        .map_err(ExitError::system(failed("reading the state directory")))?
        .flatten()
    {
        // An engine that was hostile may have left links to what is not its own.
        if entry
            .metadata()
            .is_ok_and(|found| found.is_file() && found.nlink() == 1)
        {
            give(&entry.path(), (uid, gid)).map_err(ExitError::system(failed(
                "giving the state to the engine's user",
            )))?;
        }
    }
    give(path, (uid, gid)).map_err(ExitError::system(failed(
        "giving the state directory to the engine's user",
    )))
}

/// The monitor's own directory: beside the engine's, for whoever owns a directory could replace what lies in it.
pub fn monitor_path(state_dir: &Path) -> PathBuf {
    let mut name = state_dir.as_os_str().to_owned();
    name.push(".monitor");
    PathBuf::from(name)
}

/// Makes the monitor's own directory if it is missing; only the monitor's user may look into it.
///
/// # Errors
/// Which directory, and what is wrong with it.
pub fn monitor_dir(state_dir: &Path) -> Result<PathBuf, ExitError> {
    let path = monitor_path(state_dir);
    make_dir(&path, 0o700)?;
    let failed = |what: &str| format!("{}: {what}", path.display());
    let found = fs::symlink_metadata(&path).map_err(ExitError::system(failed(
        "looking at the monitor's directory",
    )))?;
    let me = rustix::process::geteuid().as_raw();
    if !found.is_dir() || found.uid() != me {
        let what =
            format!("must be a directory of user {me} and is not; move it away and start again");
        return Err(ExitError::new(CONFIG, failed(&what)));
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700))
        .map_err(ExitError::system(failed("closing the directory to others")))?;
    Ok(path)
}

fn make_dir(path: &Path, mode: u32) -> Result<(), ExitError> {
    let made = DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(ExitError::system(format!(
        "making the directory {}",
        path.display()
    )))
}

/// One posternd a control socket: the lock lasts as long as the file that is returned.
///
/// # Errors
/// Where another posternd holds it.
pub fn lock(control_socket: &Path) -> Result<File, ExitError> {
    if let Some(folder) = control_socket.parent() {
        make_dir(folder, 0o755)?;
    }
    let path = lock_path(control_socket);
    let file = files::open_lock(&path)
        .map_err(ExitError::system(format!("opening {}", path.display())))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ExitError::new(
            FAILED,
            format!(
                "another posternd is running ({} is locked); stop it first, or give this one another control_socket",
                path.display()
            ),
        )),
        Err(TryLockError::Error(error)) => Err(ExitError::new(
            SYSTEM,
            format!("locking {}: {error}", path.display()),
        )),
    }
}

fn lock_path(control_socket: &Path) -> PathBuf {
    let mut name = control_socket.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

/// Binds the control socket.
///
/// # Errors
/// Which path, and what the system said.
pub fn control_socket(path: &Path) -> Result<OwnedFd, ExitError> {
    control::bind(path)
        .map(OwnedFd::from)
        .map_err(ExitError::system(format!(
            "binding the control socket {}",
            path.display()
        )))
}

/// Listens where the figures may be read. The address that is `held` already is listened on further, for two can't.
///
/// # Errors
/// Which address, and what the system said.
pub fn metrics_listener(
    wanted: Option<SocketAddr>,
    held: Option<&(SocketAddr, OwnedFd)>,
) -> Result<Option<(SocketAddr, OwnedFd)>, ExitError> {
    let Some(address) = wanted else {
        return Ok(None);
    };
    let socket = match held.filter(|(there, _)| *there == address) {
        Some((_, socket)) => socket.try_clone().map_err(ExitError::system(format!(
            "handing on the listener of {address}"
        )))?,
        None => metrics::http::bind(address)
            .map_err(ExitError::system(format!(
                "metrics.listen: listening on {address} (is another program using it?)"
            )))?
            .into(),
    };
    Ok(Some((address, socket)))
}

/// Opens the sockets that knocks are captured with. A bound one that is `held` already is used again, for two can't be bound.
///
/// # Errors
/// Which one, and what the system said.
pub fn captures(
    gate: &Gate,
    held: &[(CaptureSpec, OwnedFd)],
) -> Result<Vec<(CaptureSpec, OwnedFd)>, ExitError> {
    let packet = |interface: Option<String>| {
        let socket = capture::packet::open(&gate.ports)
            .map_err(ExitError::system("opening the packet socket"))?;
        Ok((CaptureSpec::Packet { interface }, socket))
    };
    match (gate.capture, &gate.interfaces) {
        (CaptureKind::Packet, Interfaces::Any) => packet(None).map(|one| vec![one]),
        (CaptureKind::Packet, Interfaces::Named(names)) => {
            names.iter().cloned().map(Some).map(packet).collect()
        }
        (CaptureKind::Udp, _) => gate.ports.iter().map(|port| udp(*port, held)).collect(),
    }
}

fn udp(port: u16, held: &[(CaptureSpec, OwnedFd)]) -> Result<(CaptureSpec, OwnedFd), ExitError> {
    if let Some((spec, socket)) = held
        .iter()
        .find(|(spec, _)| *spec == CaptureSpec::Udp { port })
    {
        let again = socket.try_clone().map_err(ExitError::system(format!(
            "handing on the socket of UDP port {port}"
        )))?;
        return Ok((spec.clone(), again));
    }
    let socket = capture::udp::bind(port).map_err(ExitError::system(format!(
        "binding UDP port {port} (is another program using it?)"
    )))?;
    Ok((CaptureSpec::Udp { port }, socket))
}
