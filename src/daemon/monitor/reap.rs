//! Reaps orphans where posternd is the first process of a container: the kernel makes it the parent of every orphan there.
//!
//! Never reaps the monitor's own children. On a host, init does this.

use std::path::Path;

use rustix::process::{Pid, WaitOptions, waitpid};

use crate::adapters::files;

/// Reaps orphans that have ended, but not `own`: the event loop waits for those. Programs and hooks are waited for where they are run.
pub(super) fn orphans(own: &[u32]) {
    if std::process::id() != 1 {
        return;
    }
    let children = files::read_system(Path::new("/proc/self/task/1/children")).unwrap_or_default();
    let children = children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok());
    let orphans = children.filter(|pid: &u32| !own.contains(pid));
    for pid in orphans.filter_map(|pid| Pid::from_raw(pid.cast_signed())) {
        // The next turn tries again with those that still run.
        let _ = waitpid(Some(pid), WaitOptions::NOHANG);
    }
}
