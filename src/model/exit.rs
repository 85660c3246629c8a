//! How a process ends: an exit code as scripts know them and one line for a person.

use std::fmt;

/// It can't be done.
pub const FAILED: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// A port did not open in time (`postern knock --wait`).
pub const NOT_OPEN: u8 = 3;
/// What was given is not what it should be (EX_DATAERR).
pub const DATA: u8 = 65;
/// What was named is not there (EX_NOINPUT).
pub const NO_INPUT: u8 = 66;
/// A host name is unknown (EX_NOHOST).
pub const NO_HOST: u8 = 68;
/// A service that is needed is not there (EX_UNAVAILABLE).
pub const UNAVAILABLE: u8 = 69;
/// The operating system refused something (EX_OSERR).
pub const SYSTEM: u8 = 71;
/// A file cannot be created (EX_CANTCREAT).
pub const CANNOT_CREATE: u8 = 73;
/// Reading or writing failed (EX_IOERR).
pub const IO: u8 = 74;
/// A privilege is missing (EX_NOPERM).
pub const PERMISSION: u8 = 77;
/// The config is wrong (EX_CONFIG).
pub const CONFIG: u8 = 78;
/// `postern run`: the command cannot be run, as a shell reports it.
pub const NOT_RUNNABLE: u8 = 126;
/// `postern run`: there is no such command, as a shell reports it.
pub const NOT_FOUND: u8 = 127;

/// Why a process ends, and with which exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitError {
    /// The exit code.
    pub code: u8,
    /// What is wrong and what to do, one line a problem.
    pub message: String,
}

impl ExitError {
    /// An end with this code.
    pub fn new(code: u8, message: impl fmt::Display) -> Self {
        Self {
            code,
            message: message.to_string(),
        }
    }

    /// For `map_err`: what was being done, in front of what the system said.
    pub fn system<E: fmt::Display>(doing: impl fmt::Display) -> impl FnOnce(E) -> Self {
        move |error| Self::new(SYSTEM, format!("{doing}: {error}"))
    }
}

impl fmt::Display for ExitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ExitError {}
