//! Exit codes of the commands (1, 2 and those of sysexits.h), and the error that carries one.

use std::fmt;

/// The command failed.
pub const FAILED: u8 = 1;
/// Wrong command line.
pub const USAGE: u8 = 2;
/// A port did not open in time (`postern knock --wait`).
pub const NOT_OPEN: u8 = 3;
/// Wrong input data (EX_DATAERR).
pub const DATA: u8 = 65;
/// An input is missing (EX_NOINPUT).
pub const NO_INPUT: u8 = 66;
/// A host name is unknown (EX_NOHOST).
pub const NO_HOST: u8 = 68;
/// A needed service is not available (EX_UNAVAILABLE).
pub const UNAVAILABLE: u8 = 69;
/// The operating system failed (EX_OSERR).
pub const SYSTEM: u8 = 71;
/// A file cannot be created (EX_CANTCREAT).
pub const CANNOT_CREATE: u8 = 73;
/// Reading or writing failed (EX_IOERR).
pub const IO: u8 = 74;
/// A privilege is missing (EX_NOPERM).
pub const PERMISSION: u8 = 77;
/// Wrong config (EX_CONFIG).
pub const CONFIG: u8 = 78;
/// `postern run`: the command cannot be run, as a shell reports it.
pub const NOT_RUNNABLE: u8 = 126;
/// `postern run`: there is no such command, as a shell reports it.
pub const NOT_FOUND: u8 = 127;

/// An error that ends a command, with its exit code.
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
