//! How a command fails: an exit status that scripts can rely on, and one line that says what is wrong and what to do.
//!
//! Holds no key: all that comes in here is text for people.

use std::fmt;

use crate::adapters::files::{FileError, FileErrorKind};
use crate::client::profile::ProfileError;

/// The exit statuses of `postern`; from 64 on they are those of sysexits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did not work, and no other status fits.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// `--wait`: the port did not open.
    NotOpen = 3,
    /// A file is missing.
    NoInput = 66,
    /// A host's name is unknown.
    NoHost = 68,
    /// No way to the gate.
    Unavailable = 69,
    /// A file cannot be made.
    CannotCreate = 73,
    /// Reading or writing failed.
    Io = 74,
    /// Not allowed.
    Permission = 77,
    /// A config or a key is wrong.
    Config = 78,
    /// `run`: the command cannot be run, as a shell says it.
    NotRunnable = 126,
    /// `run`: there is no such command, as a shell says it.
    NotFound = 127,
}

/// Why a command did not do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    /// What is wrong, and what to do.
    pub fn new(exit: Exit, what: impl fmt::Display, cure: impl fmt::Display) -> Self {
        Self::said(exit, format!("{what}; {cure}"))
    }

    /// The same, of a message that says both already.
    pub fn said(exit: Exit, message: impl fmt::Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
        }
    }

    /// A file that could not be written.
    pub fn writing(error: &FileError) -> Self {
        match Self::from_file(error) {
            Self {
                exit: Exit::Permission,
                message,
            } => Self {
                exit: Exit::Permission,
                message,
            },
            Self { message, .. } => Self {
                exit: Exit::CannotCreate,
                message,
            },
        }
    }

    /// A file that could not be read.
    pub fn from_file(error: &FileError) -> Self {
        let exit = match error.kind() {
            FileErrorKind::NotFound => Exit::NoInput,
            FileErrorKind::Permission => Exit::Permission,
            FileErrorKind::Exposed | FileErrorKind::Other => Exit::Config,
        };
        Self::said(exit, error)
    }

    /// The process's exit status.
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<ProfileError> for Failure {
    fn from(error: ProfileError) -> Self {
        Self::said(Exit::Config, error)
    }
}
