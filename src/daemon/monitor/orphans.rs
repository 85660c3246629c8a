//! Orphans: the first process of a container is handed every process there whose parent has ended, and must let go of each that ends.
//!
//! Touches no child of the monitor's own. On a host the system's first process does this.

use std::path::Path;

use rustix::process::{Pid, WaitOptions, waitpid};

use crate::adapters::files;

/// Lets go of those that have ended. `own` are the children that the loop's thread has started and waits for by itself; programs and
/// hooks are run to their end, or belong to another thread.
pub(super) fn let_go(own: &[u32]) {
    if std::process::id() != 1 {
        return;
    }
    let children = files::read_system(Path::new("/proc/self/task/1/children")).unwrap_or_default();
    let strangers = children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .filter(|pid: &u32| !own.contains(pid));
    for pid in strangers.filter_map(|pid| Pid::from_raw(pid.cast_signed())) {
        // One that still runs is looked at again in the next turn.
        let _ = waitpid(Some(pid), WaitOptions::NOHANG);
    }
}
