//! What a process gives up for good once it has what it needs: paths by landlock, system calls by seccomp.
//!
//! Owns the rules and how they are put into force. Best effort: a kernel that lacks a part gets all others, and every gap is a
//! line for the log and for `posternd check`. Must be called before the process has threads.

use std::path::Path;

mod calls;
mod paths;

pub use paths::Paths;

/// Leaves the engine its state folder and the descriptors that it was given. Returns what this kernel can't enforce.
///
/// # Errors
/// What could not be put into force; the engine must then not go on.
pub fn engine(state_dir: &Path) -> Result<Vec<String>, String> {
    let mut gaps = paths::enclose(&Paths {
        write: vec![state_dir.to_owned()],
        ..Paths::default()
    })?;
    gaps.extend(calls::engine()?);
    Ok(gaps)
}

/// Leaves the monitor these paths and, where it runs no program but engines, the system calls that it needs. All that it starts
/// inherits this. Returns what this kernel can't enforce.
///
/// # Errors
/// As [`engine`].
pub fn monitor(paths: &Paths, filter_calls: bool) -> Result<Vec<String>, String> {
    let mut gaps = paths::enclose(paths)?;
    if filter_calls {
        gaps.extend(calls::monitor()?);
    }
    Ok(gaps)
}

/// How such a gap is told, in the log and by `posternd check`.
pub fn told(gap: &str) -> String {
    format!("not as tight as it could be: {gap}")
}
