//! The monitor's directory, and the lock that keeps a second daemon out.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::geteuid;

use crate::adapters::files;
use crate::model::exit::{CONFIG, ExitError, FAILED, SYSTEM};
pub(crate) use crate::model::settings::monitor_path;

/// Makes the monitor's own directory if it is missing, for the monitor's user only.
pub(crate) fn prepare_monitor(state_dir: &Path) -> Result<PathBuf, ExitError> {
    let path = monitor_path(state_dir);
    make_dir(&path, 0o700)?;
    let failed = |what: &str| format!("{}: {what}", path.display());
    let found = fs::symlink_metadata(&path);
    let found = found.map_err(ExitError::system(failed(
        "looking at the monitor's directory",
    )))?;
    let me = geteuid().as_raw();
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
    let doing = format!("making the directory {}", path.display());
    made.map_err(ExitError::system(doing))
}

/// Refuses a control socket in a folder where others could replace it. Its lock would not hold, and questions would go to them.
pub(crate) fn check_control(control_socket: &Path) -> Result<(), ExitError> {
    let Some(folder) = control_socket.parent() else {
        return Ok(());
    };
    // A missing folder is made for this user alone.
    let Ok(found) = fs::metadata(folder) else {
        return Ok(());
    };
    let mode = found.mode() & 0o7777;
    let is_ours = [0, geteuid().as_raw()].contains(&found.uid());
    if mode & 0o022 == 0 && is_ours {
        return Ok(());
    }
    let folder = folder.display();
    let what = format!(
        "control_socket: others may write to its folder {folder} (user {}, mode {mode:04o})",
        found.uid()
    );
    let cure = format!(
        "run chown 0 {folder} and chmod go-w {folder}, or name a socket in a folder of its own"
    );
    Err(ExitError::new(CONFIG, format!("{what}; {cure}")))
}

/// A killed daemon's child that was about to run a program keeps the lock until it does.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Locks the control socket's path for one daemon, as long as the returned file is open.
pub(crate) fn lock(control_socket: &Path) -> Result<File, ExitError> {
    if let Some(folder) = control_socket.parent() {
        make_dir(folder, 0o755)?;
    }
    let mut path = control_socket.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let file = files::open_lock(&path)
        .map_err(ExitError::system(format!("opening {}", path.display())))?;
    let mut tried = file.try_lock();
    for _ in 0..LOCK_TRIES {
        if !matches!(tried, Err(TryLockError::WouldBlock)) {
            break;
        }
        sleep(LOCK_PAUSE);
        tried = file.try_lock();
    }
    match tried {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let what = format!("another posternd is running ({} is locked)", path.display());
            let cure = "stop it first, or give this one another control_socket";
            Err(ExitError::new(FAILED, format!("{what}; {cure}")))
        }
        Err(TryLockError::Error(error)) => {
            let what = format!("locking {}: {error}", path.display());
            Err(ExitError::new(SYSTEM, what))
        }
    }
}
