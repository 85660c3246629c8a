//! Restricts a process permanently: paths by landlock, system calls by seccomp.
//!
//! Best effort: a kernel that lacks one part enforces the others, and each gap is a line for the log and for `posternd check`. Must be
//! called before the process has threads.

use std::path::{Path, PathBuf};

mod calls;
mod error;
mod paths;

use error::SandboxError;
pub(crate) use paths::{Paths, with_name_servers};

/// What the C library reads to look up a name.
const NAME_FILES: [&str; 3] = ["/etc", "/run/systemd/resolve", "/run/resolvconf"];

/// Restricts the engine to its state directory and its descriptors. Returns what this kernel cannot enforce. After an error the
/// process must end.
pub fn engine(state_dir: &Path) -> Result<Vec<String>, SandboxError> {
    let mut gaps = paths::restrict(&Paths {
        write: vec![state_dir.to_owned()],
        ..Paths::default()
    })?;
    gaps.extend(calls::engine()?);
    Ok(gaps)
}

/// Restricts the cluster process to TCP connections to these ports, and to what looking up a name needs. Returns what this kernel
/// cannot enforce.
pub fn cluster(ports: &[u16]) -> Result<Vec<String>, SandboxError> {
    let mut gaps = paths::restrict(&Paths {
        read: NAME_FILES.iter().map(PathBuf::from).collect(),
        connect: paths::with_name_servers(ports),
        ..Paths::default()
    })?;
    gaps.extend(calls::cluster()?);
    Ok(gaps)
}

/// Restricts the monitor and its children to these paths. If it runs no program but engines, `filter_calls` restricts system calls,
/// too. Returns what this kernel cannot enforce.
pub(crate) fn monitor(paths: &Paths, filter_calls: bool) -> Result<Vec<String>, SandboxError> {
    let mut gaps = paths::restrict(paths)?;
    if filter_calls {
        gaps.extend(calls::monitor()?);
    }
    Ok(gaps)
}

/// The line about such a gap, for the log and for `posternd check`.
pub(crate) fn gap_line(gap: &str) -> String {
    format!("the sandbox is incomplete: {gap}")
}
