//! Gives up all privileges permanently, before the first byte from outside is read.
//!
//! The order matters: first the bounding set, while there is a right to drop it, then groups, group and user, then all capability
//! sets, and no_new_privs, so that exec gives none back.

use caps::CapSet;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{self, DumpableBehavior, Gid, Resource, Rlimit, Signal, Uid};
use rustix::thread;

use crate::model::exit::ExitError;

/// Becomes this user and group, without capabilities, and ends with its parent. `None` keeps the user, in a user namespace that has
/// only one. After an error the process must end.
pub fn give_up(run_as: Option<(u32, u32)>) -> Result<(), ExitError> {
    drop_rights(run_as)?;
    // The kernel resets it when the user changes, so it comes last.
    process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(ExitError::system("setting the parent-death signal"))
}

/// Locks all memory of this process, so that keys are not swapped out. Returns why it cannot.
pub(crate) fn lock_memory() -> Option<String> {
    // With a limit, allocations fail once it is reached.
    if process::getrlimit(Resource::Memlock).current.is_some() {
        return Some("memory can't be locked (RLIMIT_MEMLOCK): keys may be swapped out".to_owned());
    }
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    let error = mlockall(all).err()?;
    Some(format!(
        "memory can't be locked ({error}): keys may be swapped out"
    ))
}

/// As [`give_up`], for a process that may outlive its parent.
pub(crate) fn drop_rights(run_as: Option<(u32, u32)>) -> Result<(), ExitError> {
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
    forbid_core_dumps()
}

pub(crate) fn forbid_core_dumps() -> Result<(), ExitError> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let set = process::setrlimit(Resource::Core, none);
    set.and_then(|()| process::set_dumpable_behavior(DumpableBehavior::NotDumpable))
        .map_err(ExitError::system("forbidding core dumps"))
}
