//! Network namespaces for gates and client. The kernel removes them when the process ends.

use std::fmt::Display;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use caps::{CapSet, Capability};
use nix::sched::{CloneFlags, unshare};

use crate::adapters::files;
use crate::model::exit::{ExitError, FAILED, UNAVAILABLE};

/// Moves this process into a new network namespace; without root, into a new user namespace first.
///
/// Must run before any thread starts. Returns a note for people.
pub(super) fn leave_host() -> Result<&'static str, ExitError> {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    let may = caps::has_cap(None, CapSet::Effective, Capability::CAP_SYS_ADMIN);
    if uid == 0 && may.unwrap_or(false) {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(ExitError::system("making a network namespace"))?;
        return Ok("as root, in network namespaces of its own");
    }
    let forbidden = |error: &dyn Display| {
        let what = format!("only root can make namespaces with this kernel ({error})");
        let switches = "sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces, \
                        kernel.apparmor_restrict_unprivileged_userns";
        let cure = format!("run the demo as root, or allow user namespaces ({switches})");
        ExitError::new(UNAVAILABLE, format!("{what}; {cure}"))
    };
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)
        .map_err(|error| forbidden(&error))?;
    for (map, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {uid} 1")),
        ("gid_map", format!("0 {gid} 1")),
    ] {
        let written = files::write_system(&Path::new("/proc/self").join(map), &text);
        // AppArmor allows the namespace, and then no capability in it.
        written.map_err(|error| forbidden(&format!("writing {map}: {error}")))?;
    }
    Ok(
        "without root, in a user namespace of its own, which has one user only; the engine runs as that user",
    )
}

type Task = Box<dyn FnOnce() + Send>;

/// A network namespace: a thread's own, or that of this process.
pub(super) struct Namespace(Option<Sender<Task>>);

impl Namespace {
    /// A new one.
    pub(super) fn start() -> Self {
        let (sender, tasks) = channel::<Task>();
        thread::spawn(move || {
            if unshare(CloneFlags::CLONE_NEWNET).is_ok() {
                tasks.into_iter().for_each(|task| task());
            }
        });
        Self(Some(sender))
    }

    /// That of this process.
    pub(super) const fn own() -> Self {
        Self(None)
    }

    pub(super) fn run<R: Send + 'static>(
        &self,
        task: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, ExitError> {
        let Some(thread) = &self.0 else {
            return Ok(task());
        };
        let (sender, result) = channel();
        let task: Task = Box::new(move || {
            let _ = sender.send(task());
        });
        let failed = || ExitError::new(FAILED, "a network namespace could not be made");
        thread.send(task).map_err(|_| failed())?;
        result.recv().map_err(|_| failed())
    }
}
