//! Giving privilege up, for good, before the first byte from outside is read.
//!
//! Order matters: the bounding set goes while the right to drop it is still there, then groups, group and user, then
//! all capability sets, and the bit that keeps exec from ever giving any back.

use caps::CapSet;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{self, DumpableBehavior, Gid, Resource, Rlimit, Signal, Uid};
use rustix::thread;

use crate::model::exit::ExitError;

/// Becomes this user and group, without capabilities, and ends with its parent. `None`: stays who it is (a user namespace with
/// one user only).
///
/// # Errors
/// What could not be given up; the process must then end.
pub fn give_up(run_as: Option<(u32, u32)>) -> Result<(), ExitError> {
    drop_rights(run_as)?;
    // The kernel forgets this one when the user changes, so it comes last.
    process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(ExitError::system(
        "tying the engine's life to the monitor's",
    ))
}

/// Keeps all memory of this process, keys among it, from being swapped out, from now on. Returns why not where that can't be.
pub fn lock_memory() -> Option<String> {
    // With a limit, memory could not be had any more once it is reached.
    if process::getrlimit(Resource::Memlock).current.is_some() {
        return Some("memory can't be locked (RLIMIT_MEMLOCK): keys may be swapped out".to_owned());
    }
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    mlockall(all)
        .err()
        .map(|error| format!("memory can't be locked ({error}): keys may be swapped out"))
}

/// As [`give_up`], for a process that may outlive its parent.
///
/// # Errors
/// As [`give_up`].
pub fn drop_rights(run_as: Option<(u32, u32)>) -> Result<(), ExitError> {
    caps::clear(None, CapSet::Bounding).map_err(ExitError::system("dropping the bounding set"))?;
    if let Some((uid, gid)) = run_as {
        thread::set_thread_groups(&[]).map_err(ExitError::system("dropping groups"))?;
        thread::set_thread_gid(Gid::from_raw(gid))
            .map_err(ExitError::system(format!("becoming group {gid}")))?;
        thread::set_thread_uid(Uid::from_raw(uid))
            .map_err(ExitError::system(format!("becoming user {uid}")))?;
    }
    for set in [
        CapSet::Ambient,
        CapSet::Inheritable,
        CapSet::Effective,
        CapSet::Permitted,
    ] {
        caps::clear(None, set).map_err(ExitError::system("dropping capabilities"))?;
    }
    thread::set_no_new_privs(true).map_err(ExitError::system("setting no_new_privs"))?;
    process::setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )
    .map_err(ExitError::system("forbidding core dumps"))?;
    process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(ExitError::system("forbidding core dumps"))
}
