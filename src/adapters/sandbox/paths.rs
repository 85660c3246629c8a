//! Landlock: the paths that a process may use, and the ports, sockets and processes that it may reach.

use std::path::{Path, PathBuf};

use super::error::SandboxError;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath,
    PathFd, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};

const NEWEST: ABI = ABI::V6;

/// What a process may use. A path that does not exist is skipped.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    /// Directories and files to read.
    pub(crate) read: Vec<PathBuf>,
    /// Directories and programs to read and execute.
    pub(crate) execute: Vec<PathBuf>,
    /// Directories and files to read and write. Files in the directories may be made, renamed and removed.
    pub(crate) write: Vec<PathBuf>,
    /// Whether TCP ports may be bound.
    pub(crate) bind: bool,
    /// The TCP ports that may be connected to.
    pub(crate) connect: Vec<u16>,
    /// Whether other processes may be signalled, and their abstract sockets connected to.
    pub(crate) outside: bool,
}

/// These ports, and the one of name servers.
pub(crate) fn with_name_servers(ports: &[u16]) -> Vec<u16> {
    ports.iter().copied().chain([53]).collect()
}

/// Restricts this thread and everything that it starts. Returns a line for each part that this kernel cannot enforce.
pub(super) fn restrict(paths: &Paths) -> Result<Vec<String>, SandboxError> {
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    let tcp = if paths.bind {
        AccessNet::ConnectTcp.into()
    } else {
        AccessNet::from_all(NEWEST)
    };
    let mut ruleset = ruleset
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(tcp)?;
    if !paths.outside {
        ruleset = ruleset.scope(Scope::from_all(NEWEST))?;
    }
    let mut created = ruleset.create()?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    for (list, access) in [
        (&paths.read, read),
        (&paths.execute, read | AccessFs::Execute),
        (&paths.write, read | AccessFs::from_write(NEWEST)),
    ] {
        for path in list {
            created = allow(created, path, access)?;
        }
    }
    for port in &paths.connect {
        created = created.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    let gap = match created.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => None,
        RulesetStatus::PartiallyEnforced => Some(
            "this kernel enforces only a part of landlock: paths are restricted, but not everything else",
        ),
        RulesetStatus::NotEnforced => Some(
            "this kernel has no landlock: the process may use every file that its user may use",
        ),
    };
    Ok(gap.into_iter().map(str::to_owned).collect())
}

fn allow(
    created: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, landlock::RulesetError> {
    // A path that does not exist needs no rule.
    let Ok(opened) = PathFd::new(path) else {
        return Ok(created);
    };
    // The kernel refuses rights of directories for a file.
    let access = if path.is_dir() {
        access
    } else {
        access & AccessFs::from_file(NEWEST)
    };
    created.add_rule(PathBeneath::new(opened, access))
}
