//! Restricts a process permanently: paths by landlock, system calls by seccomp.
//!
//! Best effort: a kernel that lacks one part enforces the others, and each gap is a line for the log and for `posternd check`. Must be
//! called before the process has threads.

use std::path::Path;

mod calls;
mod error;
mod paths;

use error::SandboxError;
pub(crate) use paths::Paths;

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
