//! Landlock: the paths that a process may still touch, and the ports, sockets and processes that it may not reach any more.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};

/// The newest rights that are asked for; an older kernel enforces those that it knows.
const NEWEST: ABI = ABI::V6;

/// What a process may still touch. All that is named must be there; what is missing is left out, for it can't be touched.
#[derive(Debug, Clone, Default)]
pub struct Paths {
    /// Folders and files that may be read.
    pub read: Vec<PathBuf>,
    /// Folders and programs in them that may be read and executed.
    pub execute: Vec<PathBuf>,
    /// Folders whose files may be made, read, written, renamed and removed; and files that may be read and written.
    pub write: Vec<PathBuf>,
    /// Whether TCP ports may still be bound. None is ever connected to.
    pub bind: bool,
    /// Whether processes outside may still be signalled, and their abstract sockets connected to.
    pub outside: bool,
}

/// Encloses this thread, and all that it starts from now on. Returns what this kernel can't enforce, one line each.
///
/// # Errors
/// What the kernel said; the process is then not enclosed and must not go on.
pub(super) fn enclose(paths: &Paths) -> Result<Vec<String>, String> {
    let failed =
        |error: &dyn std::fmt::Display| format!("enclosing the process by landlock: {error}");
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    ruleset = ruleset
        .handle_access(AccessFs::from_all(NEWEST))
        .map_err(|error| failed(&error))?;
    let tcp = if paths.bind {
        AccessNet::ConnectTcp.into()
    } else {
        AccessNet::from_all(NEWEST)
    };
    ruleset = ruleset.handle_access(tcp).map_err(|error| failed(&error))?;
    if !paths.outside {
        ruleset = ruleset
            .scope(Scope::from_all(NEWEST))
            .map_err(|error| failed(&error))?;
    }
    let mut created = ruleset.create().map_err(|error| failed(&error))?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    for (list, access) in [
        (&paths.read, read),
        (&paths.execute, read | AccessFs::Execute),
        (&paths.write, read | AccessFs::from_write(NEWEST)),
    ] {
        for path in list {
            created = allow(created, path, access).map_err(|error| failed(&error))?;
        }
    }
    let status = created.restrict_self().map_err(|error| failed(&error))?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Vec::new(),
        RulesetStatus::PartiallyEnforced => {
            vec!["this kernel enforces a part of landlock only: files are closed to it, but not all else".to_owned()]
        }
        RulesetStatus::NotEnforced => {
            vec!["this kernel has no landlock: the process is not kept from files that its user may touch".to_owned()]
        }
    })
}

fn allow(
    created: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, landlock::RulesetError> {
    // A path that is not there can't be touched either.
    let Ok(opened) = PathFd::new(path) else {
        return Ok(created);
    };
    // Rights of folders mean nothing for a file, and the kernel refuses them.
    let access = if path.is_dir() {
        access
    } else {
        access & AccessFs::from_file(NEWEST)
    };
    created.add_rule(PathBeneath::new(opened, access))
}
