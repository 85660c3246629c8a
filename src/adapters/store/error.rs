//! Why the replay store cannot be used: the file, the cause and the cure in one line.

use std::fmt;
use std::path::{Path, PathBuf};

const MOVE_AWAY: &str = "stop posternd, move the file away and start again; knocks made in the last window could then be replayed, \
                         so wait two windows (1 minute at 30s) before starting";

/// Why the store cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreError {
    path: PathBuf,
    fault: StoreFault,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoreFault {
    #[error("the replay store is damaged: {0}")]
    Damaged(String),
    #[error("it has format {found} and this posternd knows only {known}")]
    Format { found: u64, known: u64 },
    #[error("another process has it open")]
    Busy,
    #[error("{0}")]
    System(String),
    #[error("it cannot be created: {0}")]
    NotCreated(String),
    #[error("there is no such folder")]
    NoFolder,
    #[error("it is not a plain file")]
    NotAFile,
    #[error("it belongs to user {owner} and the engine runs as user {engine}")]
    Owner { owner: u32, engine: u32 },
    #[error("others may use it (mode {0:04o})")]
    Mode(u32),
}

impl StoreError {
    pub(crate) fn new(path: &Path, fault: StoreFault) -> Self {
        Self {
            path: path.to_owned(),
            fault,
        }
    }

    fn cure(&self) -> String {
        match &self.fault {
            StoreFault::Damaged(_) | StoreFault::NotAFile => MOVE_AWAY.to_owned(),
            StoreFault::Format { .. } => {
                format!("start the posternd that wrote it, or {MOVE_AWAY}")
            }
            StoreFault::Busy => {
                "stop the other posternd, or give each gate its own state_dir".to_owned()
            }
            StoreFault::System(_) => "check that the disk is writable and has free space, and that the engine's user (run_as) owns folder and file; then start again".to_owned(),
            StoreFault::NotCreated(_) => "check that the engine's user (run_as) owns the folder and the disk has free space".to_owned(),
            StoreFault::NoFolder => "make it and give it to the engine's user (run_as), or set state_dir in posternd.toml".to_owned(),
            StoreFault::Owner { engine, .. } => format!("chown {engine} {}", self.path.display()),
            StoreFault::Mode(_) => format!("chmod 600 {}", self.path.display()),
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = self.fault.to_string().replace(['\n', '\r'], " ");
        write!(f, "{}: {fault}; {}", self.path.display(), self.cure())
    }
}

impl std::error::Error for StoreError {}
