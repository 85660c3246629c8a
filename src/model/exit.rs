//! Exit codes of the commands (1, 2 and those of sysexits.h), and the error that carries one.

use std::fmt;

pub(crate) const FAILED: u8 = 1;
pub(crate) const USAGE: u8 = 2;
/// A port did not open in time (`postern knock --wait`).
pub(crate) const NOT_OPEN: u8 = 3;
#[cfg(feature = "daemon")]
pub(crate) const DATA: u8 = 65;
pub(crate) const NO_INPUT: u8 = 66;
pub(crate) const NO_HOST: u8 = 68;
pub(crate) const UNAVAILABLE: u8 = 69;
#[cfg(feature = "daemon")]
pub(crate) const SYSTEM: u8 = 71;
pub(crate) const CANNOT_CREATE: u8 = 73;
pub(crate) const IO: u8 = 74;
pub(crate) const PERMISSION: u8 = 77;
pub(crate) const CONFIG: u8 = 78;
/// `postern run`: the command cannot be run, as a shell reports it.
pub(crate) const NOT_RUNNABLE: u8 = 126;
/// `postern run`: there is no such command, as a shell reports it.
pub(crate) const NOT_FOUND: u8 = 127;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitError {
    pub code: u8,
    pub message: String,
}

impl ExitError {
    pub(crate) fn new(code: u8, message: impl fmt::Display) -> Self {
        Self {
            code,
            message: message.to_string(),
        }
    }

    /// For `map_err`: what was being done, in front of what the system said.
    #[cfg(feature = "daemon")]
    pub(crate) fn system<E: fmt::Display>(doing: impl fmt::Display) -> impl FnOnce(E) -> Self {
        move |error| Self::new(SYSTEM, format!("{doing}: {error}"))
    }
}

impl fmt::Display for ExitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ExitError {}
