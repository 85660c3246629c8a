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

/// What is wrong with the file or its folder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreFault {
    /// The content is damaged.
    #[error("the replay store is damaged: {0}")]
    Damaged(String),
    /// Another version of posternd wrote it.
    #[error("it has format {found} and this posternd knows only {known}")]
    Format {
        /// The format of the file.
        found: u64,
        /// The format of this version.
        known: u64,
    },
    /// Another process has it open.
    #[error("another process has it open")]
    Busy,
    /// The system does not let it be read or written.
    #[error("{0}")]
    System(String),
    /// The file could not be created.
    #[error("it cannot be created: {0}")]
    NotCreated(String),
    /// The state folder does not exist.
    #[error("there is no such folder")]
    NoFolder,
    /// A link, a folder or something else has its name.
    #[error("it is not a plain file")]
    NotAFile,
    /// Its owner is not the engine's user.
    #[error("it belongs to user {owner} and the engine runs as user {engine}")]
    Owner {
        /// Who owns the file.
        owner: u32,
        /// Who runs the engine.
        engine: u32,
    },
    /// Others can read or write it.
    #[error("others may use it (mode {0:04o})")]
    Mode(u32),
}

impl StoreError {
    /// This fault of this file or folder.
    pub fn new(path: &Path, fault: StoreFault) -> Self {
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
